"""What both trainers share: a dataset item is a `Sample`, a batch a list of them, metrics go to the run directory.

A window (the samples of one optimiser step, over all processes) is dealt out here: each process gets its part of it,
so that one process and several see the same windows.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import DistributedType
from transformers.integrations.deepspeed import unset_hf_deepspeed_config
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from reasoner_rm import distributed
from reasoner_rm.config import RunSection, TrainSection
from reasoner_rm.errors import InputError, RunInterrupted, ServiceError
from reasoner_rm.models.loading import Vlm
from reasoner_rm.models.param_groups import param_groups
from reasoner_rm.models.prompt_encoder import PromptEncoder
from reasoner_rm.models.quantization import check_unsharded, is_quantized
from reasoner_rm.models.vision_cache import has_cache
from reasoner_rm.schema import Sample
from reasoner_rm.tasks.render import Template
from reasoner_rm.training.batch_sampler import WindowSampler
from reasoner_rm.training.callbacks import Bar, Keeper, OptimiserTime
from reasoner_rm.training.checkpoints import Checkpoints
from reasoner_rm.training.evaluation import BestCheckpoint, EvalFn, Measuring
from reasoner_rm.training.hf_arguments import arguments
from reasoner_rm.training.metric_buffer import MetricBuffer
from reasoner_rm.training.policy_module import PolicyModule
from reasoner_rm.training.resumable import StatefulTrainer
from reasoner_rm.training.sharding import is_sharded, summon_full_params
from reasoner_rm.training.signals import StopRequest
from reasoner_rm.training.timers import StepTimer
from reasoner_rm.training.trackers import trackers

Log = Callable[[int, dict[str, float]], None]


class Samples(torch.utils.data.Dataset):
    """A list of samples as torch wants it."""

    def __init__(self, samples: Sequence[Sample]):
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Sample:
        return self.samples[index]


class SampleTrainer(StatefulTrainer):
    """`transformers.Trainer` over samples. Subclasses give `compute_loss`; `gather` collects what is logged.

    Args:
        batch_size: samples of one forward and backward pass of a process; ``section.accumulation`` of these make up
            its part of a window.
        steps: optimiser steps, of which ``repeats`` in a row see the same window.
        filled: see :class:`WindowSampler`.
        checkpoints: where states are kept; None keeps none.
        measure: figures of held-out samples, asked every ``section.eval_steps`` steps of the first process alone, which
            holds all weights meanwhile.
    """

    def __init__(
        self,
        vlm: Vlm,
        template: Template,
        samples: Sequence[Sample],
        section: TrainSection,
        *,
        batch_size: int,
        steps: int,
        log: Log,
        title: str,
        seed: int,
        repeats: int = 1,
        block: int = 1,
        drop_last: bool = False,
        encoder: PromptEncoder | None = None,
        checkpoints: Checkpoints | None = None,
        run: RunSection | None = None,
        measure: EvalFn | None = None,
    ):
        self.vlm = vlm
        self.template = template
        self.encoder = encoder or PromptEncoder(vlm)
        self.checkpoints = checkpoints
        self.phases = StepTimer()
        self._log_line = log
        self.gathered = MetricBuffer()
        run = run or RunSection()
        args = arguments(section, run, cpu=vlm.device.type == "cpu", batch_size=batch_size, steps=steps, seed=seed)
        world = distributed.world_size()
        self.sampler = WindowSampler(
            len(samples),
            batch_size * section.gradient_accumulation_steps * world,
            repeats,
            seed,
            block,
            self._prefetch,
            windows=-(-steps // repeats),
            drop_last=drop_last,
            share=(distributed.rank(), world),
        )
        super().__init__(model=PolicyModule(vlm), args=args, train_dataset=Samples(samples), data_collator=list)
        if self.args.world_size != world:
            raise InputError(
                f"{self.args.world_size} processes were started, {world} found each other",
                remedy="start them with torchrun or accelerate launch",
            )
        self._check_sharing()
        if world > 1:
            self.model.see_always()
        for noisy in (PrinterCallback, ProgressCallback):
            self.remove_callback(noisy)
        self.wish = StopRequest()
        self._bar = Bar(title, self.gathered)
        self.add_callback(self._bar)
        self.add_callback(OptimiserTime(self.phases))
        self.add_callback(Keeper(self.wish, checkpoints, repeats))
        for tracker in trackers(run.report_to, run.out / "trackers" / title.replace(" ", "_").replace(":", "")):
            self.add_callback(tracker)
        self.best = BestCheckpoint(
            section.metric_for_best_model,
            section.early_stopping_patience,
            None if checkpoints is None else checkpoints.folder.with_suffix(".best.safetensors"),
        )
        self._measure_now = measure
        self.rates = section.learning_rates
        if section.eval_steps is not None and measure is not None:
            self.add_callback(Measuring(self._measured, section.eval_steps, repeats))
        self.model_accepts_loss_kwargs = False  # each batch's loss is a mean: the trainer divides by the accumulation
        self._resumed: Path | None = None

    # --- training, from the start or from a state ------------------------------------------------------------------

    def train(self, *, resume: bool = False) -> Any:  # type: ignore[override]
        """Train to the last step.

        Args:
            resume: go on from the last whole state, where there is one.

        Raises:
            Stopped: somebody asked for it; the state is saved.
            ServiceError: a server that the training asks is gone; one process alone saves its state first.
            InputError: the state was written with other settings.
        """
        state = self.checkpoints.latest() if resume and self.checkpoints else None
        if state is not None:
            self.restore(state)
            self._resumed = state
        try:
            with self.wish.install_handlers():
                result = super().train(resume_from_checkpoint=None if state is None else str(state))
        except ServiceError as error:
            raise ServiceError(f"{error}. {self._kept_what_was_done()}") from error
        finally:
            self._bar.close()  # so that an error starts on a line of its own
            unset_hf_deepspeed_config()  # or models that are loaded later would be sharded
        if self.wish.reason:
            self._say_stopped()
        return result

    def _kept_what_was_done(self) -> str:
        """Between two windows, save where training stands, and say where it can go on. With others one process cannot:
        they wait for it elsewhere."""
        step, kept = self.state.global_step, self.checkpoints.steps() if self.checkpoints else []
        if (
            self.checkpoints
            and distributed.world_size() == 1
            and step % self.sampler.repeats == 0
            and step > max(kept, default=0)
        ):
            self._save_checkpoint(self.model, None)
            kept.append(step)
        return f"The state after step {kept[-1]} is saved: go on from it with --resume" if kept else "Nothing is saved"

    def _say_stopped(self) -> None:
        if self.state.global_step < self.state.max_steps:
            kept = "its state is saved" if self.checkpoints else "nothing is saved"
            raise RunInterrupted(f"stopped by {self.wish.reason} after step {self.state.global_step}; {kept}")

    def get_train_dataloader(self) -> torch.utils.data.DataLoader:
        """Batches of this process; `accelerate` has nothing left to deal out."""
        size = self.args.per_device_train_batch_size
        return torch.utils.data.DataLoader(
            self.train_dataset, batch_size=size, sampler=self.sampler, collate_fn=self.data_collator
        )

    def _prefetch(self, indices: Sequence[int]) -> None:
        self.encoder.prefetch(image for i in indices for image in self.train_dataset[i].images)

    def get_batch_samples(self, epoch_iterator: Iterator[Any], num_batches: int, device: Any) -> tuple[list, None]:
        if self._resumed is not None:  # whatever was drawn on the way here was not drawn the first time
            self._load_rng_state(str(self._resumed))
            self._resumed = None
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        return batches, None

    # --- what is seen on the way -------------------------------------------------------------------------------------

    def _measured(self) -> bool:
        """Measure; whether there is nothing more to wait for."""
        assert self._measure_now is not None
        with self.phases("measuring"), summon_full_params(self.model_wrapped), distributed.raise_on_all_ranks():
            figures = dict(self._measure_now()) if distributed.is_main() else {}
        figures = distributed.all_gather(figures)[0]
        self.gather(**{f"eval/{name}": value for name, value in figures.items()})
        return self.best.heard(figures, self.trained)

    def saw(self, step: int, metrics: Mapping[str, float]) -> list[str]:
        """Look at a step's metrics, the same in every process; the reasons to end here that they give."""
        return []

    # --- several processes -------------------------------------------------------------------------------------------

    def backward(self, loss: torch.Tensor) -> None:
        """Backward of one part of a micro-batch."""
        deepspeed = self.accelerator.distributed_type == DistributedType.DEEPSPEED
        with self.phases("backward"):
            self.accelerator.backward(loss, **({"scale_wrt_gas": False} if deepspeed else {}))

    @contextlib.contextmanager
    def no_sync(self, model: Any) -> Iterator[None]:
        """Inside, passes are not the last of their step: gradients do not yet meet those of other processes."""
        state = self.accelerator.gradient_state
        due = state.sync_gradients
        state._set_sync_gradients(False)
        try:
            with self.accelerator.no_sync(model):
                yield
        finally:
            state._set_sync_gradients(due)

    @property
    def lockstep(self) -> bool:
        """Whether processes have to make the same number of passes, because each of these meets the others."""
        return distributed.world_size() > 1 and (self.is_deepspeed_enabled or is_sharded(self.model))

    def _check_sharing(self) -> None:
        plugin = getattr(self.accelerator.state, "deepspeed_plugin", None)
        if not self.is_fsdp_enabled and (plugin is None or plugin.zero_stage != 3):
            return
        check_unsharded(is_quantized(self.vlm.model))
        if has_cache(self.vlm.model.model.visual):
            raise InputError(
                "with model.keep_features a process may leave out the vision tower, while others wait for its weights",
                remedy="unset model.keep_features, or take ZeRO-2",
            )

    # --- rates of parts ----------------------------------------------------------------------------------------------

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        if self.rates and self.optimizer is None:
            whole = self.model if model is None else model
            kind, settings = self.get_optimizer_cls_and_kwargs(self.args, whole)
            decayed = set(self.get_decay_parameter_names(whole))
            groups = param_groups(whole, self.rates, self.args.learning_rate, self.args.weight_decay, decayed)
            self.optimizer_cls_and_kwargs = kind, settings | {"params": list(groups)}
        return super().create_optimizer(model)

    # --- metrics -----------------------------------------------------------------------------------------------------

    def gather(self, **values: float) -> None:
        """Remember values of this step; see :class:`Gathered`."""
        self.gathered.add(**values)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if "loss" not in logs:  # the closing summary of `train`
            return
        values = logs | self.gathered.pooled() | self.phases.reset()
        line = {k: round(float(v), 6) for k, v in values.items() if k != "epoch"}
        if distributed.is_main():
            self._log_line(self.state.global_step, line)
        if ends := self.saw(self.state.global_step, values):
            self.wish.reason = self.wish.reason or f"the alarm {' and '.join(ends)}"
        super().log(values, start_time)

    def _prepare_inputs(self, inputs: Any) -> Any:
        return inputs

    def floating_point_ops(self, inputs: Any) -> int:
        return 0
