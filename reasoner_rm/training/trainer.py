"""What both trainers share: a dataset item is a `Sample`, a batch a list of them, metrics go to the run directory."""

from __future__ import annotations

import math
import tempfile
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import torch
from tqdm.auto import tqdm
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from reasoner_rm.errors import InputError
from reasoner_rm.policy.loading import Vlm
from reasoner_rm.policy.prompts import PromptEncoder
from reasoner_rm.schema import Sample
from reasoner_rm.tasks.render import Template
from reasoner_rm.training.group_model import GroupModel

Log = Callable[[int, dict[str, float]], None]


class Samples(torch.utils.data.Dataset):
    """A list of samples as torch wants it."""

    def __init__(self, samples: Sequence[Sample]):
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Sample:
        return self.samples[index]


class SampleTrainer(Trainer):
    """`transformers.Trainer` over samples. Subclasses give `compute_loss`; `gather` collects what is logged."""

    def __init__(
        self,
        vlm: Vlm,
        template: Template,
        samples: Sequence[Sample],
        *,
        log: Log,
        title: str,
        encoder: PromptEncoder | None = None,
        **arguments: Any,
    ):
        self.vlm = vlm
        self.template = template
        self.encoder = encoder or PromptEncoder(vlm)
        self._log_line = log
        self._gathered: dict[str, list[float]] = defaultdict(list)
        args = TrainingArguments(
            output_dir=tempfile.gettempdir(),  # nothing is written there: stages save bundles
            save_strategy="no",
            report_to=[],
            logging_steps=1,
            remove_unused_columns=False,
            disable_tqdm=True,
            dataloader_pin_memory=False,
            use_cpu=vlm.device.type == "cpu",
            **arguments,
        )
        if args.world_size > 1:
            raise InputError("training on several processes is not there yet", remedy="start one process, on one GPU")
        super().__init__(model=GroupModel(vlm), args=args, train_dataset=Samples(samples), data_collator=list)
        for noisy in (PrinterCallback, ProgressCallback):
            self.remove_callback(noisy)
        self._bar = _Bar(title, self._gathered)
        self.add_callback(self._bar)
        self.model_accepts_loss_kwargs = False  # each batch's loss is a mean: the trainer divides by the accumulation

    def train(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().train(*args, **kwargs)
        finally:
            self._bar.close()  # so that an error starts on a line of its own

    def gather(self, **values: float) -> None:
        """Remember values of this step; the log holds their means."""
        for name, value in values.items():
            self._gathered[name.replace("__", "/")].append(float(value))

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if "loss" not in logs:  # the closing summary of `train`
            return
        means = {k: math.fsum(v) / len(v) for k, v in self._gathered.items() if v}
        self._gathered.clear()
        line = {k: round(float(v), 6) for k, v in (logs | means).items() if k != "epoch"}
        self._log_line(self.state.global_step, line)
        super().log(logs, start_time)

    def _prepare_inputs(self, inputs: Any) -> Any:
        return inputs

    def floating_point_ops(self, inputs: Any) -> int:
        return 0


class _Bar(TrainerCallback):
    """A progress bar with the few numbers that tell whether it works."""

    SHOWN = ("loss", "reward", "reward/accuracy", "reward/listener_belief")

    def __init__(self, title: str, gathered: dict[str, list[float]]):
        self.title, self.gathered = title, gathered
        self.bar: tqdm | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.bar = tqdm(total=state.max_steps, desc=self.title, unit="step", dynamic_ncols=True)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        assert self.bar is not None
        shown = {k.split("/")[-1]: f"{v[-1]:.3f}" for k, v in self.gathered.items() if k in self.SHOWN and v}
        self.bar.set_postfix(shown, refresh=False)
        self.bar.update(1)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()
