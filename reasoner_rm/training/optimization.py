"""The policy with its optimiser and learning-rate schedule, as accelerate runs them: in one process, under DDP,
DeepSpeed (ZeRO-2, ZeRO-3) or FSDP2."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import (
    DistributedDataParallelKwargs,
    DistributedType,
    GradientAccumulationPlugin,
    load_fsdp_model,
    load_fsdp_optimizer,
    save_fsdp_model,
    save_fsdp_optimizer,
)
from accelerate.utils.deepspeed import DeepSpeedSchedulerWrapper, DummyOptim, DummyScheduler
from safetensors.torch import load_file, save_file
from transformers import TrainingArguments, get_scheduler, set_seed
from transformers.integrations.deepspeed import propagate_args_to_deepspeed, unset_hf_deepspeed_config
from transformers.trainer_pt_utils import get_parameter_names

from reasoner_rm import distributed
from reasoner_rm.config import RunSection, TrainSection
from reasoner_rm.errors import InputError
from reasoner_rm.log import warn_once
from reasoner_rm.models.loading import Vlm
from reasoner_rm.models.param_groups import param_groups
from reasoner_rm.models.quantization import check_unsharded, is_quantized
from reasoner_rm.models.vision_cache import has_cache
from reasoner_rm.training.hf_arguments import training_arguments
from reasoner_rm.training.policy_module import PolicyModule
from reasoner_rm.training.sharding import gather_trainable, is_sharded

WEIGHTS, OPTIMIZER, SCHEDULER = "trainable.safetensors", "optimizer.pt", "scheduler.pt"
NO_DECAY = (r"bias", r"layernorm", r"rmsnorm", r"(?:^|\.)norm(?:$|\.)", r"_norm(?:$|\.)")
"""Names of weights without weight decay, as `transformers.Trainer` chooses them."""


@dataclass(frozen=True, slots=True)
class Update:
    """An optimiser step: the norm of the gradient before clipping, and the learning rate that it was made with."""

    grad_norm: float
    learning_rate: float


class Optimization:
    """A policy under training.

    Attributes:
        module: the policy as a function of groups.
        model: the module as accelerate wrapped it. Forward passes with a gradient go through this one.

    Args:
        micro_batch_size: samples of one forward and backward pass of a process.
        steps: optimiser steps in all, for the schedule.

    Raises:
        InputError: settings that do not go together, or processes that did not find each other.
    """

    def __init__(
        self, vlm: Vlm, section: TrainSection, run: RunSection, *, micro_batch_size: int, steps: int, seed: int
    ):
        self.vlm = vlm
        self.args = training_arguments(
            section, run, cpu=vlm.device.type == "cpu", micro_batch_size=micro_batch_size, steps=steps, seed=seed
        )
        set_seed(seed)
        self.accelerator = _accelerator(self.args)
        if self.accelerator.num_processes != distributed.world_size():
            raise InputError(
                f"{self.accelerator.num_processes} processes were started, {distributed.world_size()} found each other",
                remedy="start them with torchrun or accelerate launch",
            )
        if self.accelerator.num_processes == 1 and (found := torch.cuda.device_count()) > 1:
            warn_once(f"1 of {found} GPUs is used; scripts/launch.sh or accelerate launch start a process on each")
        self._check_sharding()
        self._check_precision()
        module = PolicyModule(vlm)
        if distributed.world_size() > 1:
            module.always_run_vision()
        if section.gradient_checkpointing:
            vlm.model.gradient_checkpointing_enable()
        self.model, self.optimizer, self.scheduler = self._prepare(module, section)
        self.module: PolicyModule = self.accelerator.unwrap_model(self.model)

    # --- what accelerate makes of the policy ----------------------------------------------------------------------

    @property
    def is_deepspeed(self) -> bool:
        return bool(self.accelerator.distributed_type == DistributedType.DEEPSPEED)

    @property
    def is_fsdp(self) -> bool:
        return bool(self.accelerator.distributed_type == DistributedType.FSDP)

    @property
    def lockstep(self) -> bool:
        """Whether all processes have to make the same number of passes, because each pass exchanges weights or
        gradients with the others."""
        return distributed.world_size() > 1 and (self.is_deepspeed or is_sharded(self.module))

    def _check_sharding(self) -> None:
        plugin = self.accelerator.state.deepspeed_plugin
        if not self.is_fsdp and (plugin is None or plugin.zero_stage != 3):
            return
        check_unsharded(is_quantized(self.vlm.model))
        if has_cache(self.vlm.model.model.visual):
            raise InputError(
                "with model.cache_features a process may leave out the vision tower, while others wait for its weights",
                remedy="unset model.cache_features, or take ZeRO-2",
            )

    def _check_precision(self) -> None:
        if self.is_deepspeed or (self.is_fsdp and self.args.bf16):  # their optimisers step fp32 copies
            return
        half = {p.dtype for p in self.vlm.model.parameters() if p.requires_grad and p.dtype.itemsize < 4}
        if half:
            raise InputError(
                f"weights in {', '.join(map(str, half))} would be trained: they are too coarse for most updates",
                remedy="set model.dtype: float32 with bf16: true, or model.lora, or run.deepspeed",
            )

    def _prepare(self, module: PolicyModule, section: TrainSection) -> tuple[Any, Any, Any]:
        if not self.is_deepspeed:
            model, optimizer = self.accelerator.prepare(module, _optimizer(module, section))
            return model, optimizer, self._schedule(optimizer)
        config = self.accelerator.state.deepspeed_plugin.hf_ds_config
        config.trainer_config_finalize(self.args, module, self.args.max_steps)
        scheduler: Any = None
        if "optimizer" in config.config:
            optimizer = DummyOptim([p for p in module.parameters() if p.requires_grad])
            scheduler = DummyScheduler(optimizer, lr_scheduler_callable=self._schedule)
        else:
            optimizer = _optimizer(module, section)
            config.config["zero_allow_untested_optimizer"] = True
        if "scheduler" in config.config:
            scheduler = DummyScheduler(optimizer)
        if scheduler is not None:
            model, optimizer, scheduler = self.accelerator.prepare(module, optimizer, scheduler)
            return model, optimizer, scheduler
        model, optimizer = self.accelerator.prepare(module, optimizer)
        return model, optimizer, self._schedule(optimizer)

    def _schedule(self, optimizer: Any) -> Any:
        steps = self.args.max_steps
        return get_scheduler(
            self.args.lr_scheduler_type,
            optimizer=optimizer,
            num_warmup_steps=self.args.get_warmup_steps(steps),
            num_training_steps=steps,
        )

    # --- a step -----------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def accumulate(self, *, last: bool) -> Iterator[None]:
        """Inside, one forward and backward pass is made. Gradients are reduced over processes in the ``last`` pass of
        a step only."""
        self.accelerator.gradient_state._set_sync_gradients(last)
        alone = contextlib.nullcontext() if last or self.is_deepspeed else self.accelerator.no_sync(self.model)
        with alone:
            yield

    def backward(self, loss: torch.Tensor) -> None:
        """Add the gradient of a loss, which is already divided by what the whole step is a mean over."""
        self.accelerator.backward(loss, **({"scale_wrt_gas": False} if self.is_deepspeed else {}))

    def step(self) -> Update:
        """Clip the gradient, step the optimiser and the schedule. DeepSpeed did the first two in the last
        backward pass."""
        norm = self.accelerator.clip_grad_norm_(self.model.parameters(), self.args.max_grad_norm)
        self.optimizer.step()
        rate = float(self.scheduler.get_last_lr()[0])
        if not self.accelerator.optimizer_step_was_skipped:
            self.scheduler.step()
        self.model.zero_grad()
        return Update(float("nan") if norm is None else float(norm), rate)

    def trainable(self) -> dict[str, torch.Tensor]:
        """See :func:`gather_trainable`."""
        return gather_trainable(self.module)

    def close(self) -> None:
        """Forget the DeepSpeed configuration, which transformers would apply to models that are loaded later."""
        unset_hf_deepspeed_config()

    # --- a checkpoint's part ----------------------------------------------------------------------------------------

    def save(self, folder: Path) -> None:
        """Write weights, optimiser, schedule and the random number generators. Collective: call it on every process."""
        if self.is_deepspeed:
            self.model.save_checkpoint(str(folder))
        elif self.is_fsdp:
            plugin = self.accelerator.state.fsdp_plugin
            save_fsdp_model(plugin, self.accelerator, self.model, str(folder))
            save_fsdp_optimizer(plugin, self.accelerator, self.optimizer, self.model, str(folder))
        elif distributed.is_main():
            save_file(self.trainable(), folder / WEIGHTS)
            _save(self.optimizer.state_dict(), folder / OPTIMIZER)
        if distributed.is_main() and not isinstance(self.scheduler, DeepSpeedSchedulerWrapper):
            _save(self.scheduler.state_dict(), folder / SCHEDULER)
        _save(_rng_state(), _rng_file(folder))

    def load(self, folder: Path) -> None:
        """Read what :meth:`save` wrote. The random number generators come last: nothing that is drawn while a training
        is set up changes what it draws.

        Raises:
            InputError: the checkpoint holds other weights than are trained now.
        """
        if self.is_deepspeed:
            self.model.load_checkpoint(str(folder), load_module_strict=True)
        elif self.is_fsdp:
            plugin = self.accelerator.state.fsdp_plugin
            load_fsdp_model(plugin, self.accelerator, self.model, str(folder))
            load_fsdp_optimizer(plugin, self.accelerator, self.optimizer, self.model, str(folder))
        else:
            copy_trainable(self.module, load_file(folder / WEIGHTS))
            device = self.accelerator.device if distributed.world_size() > 1 else "cpu"
            self.optimizer.load_state_dict(torch.load(folder / OPTIMIZER, map_location=device, weights_only=True))
        if not isinstance(self.scheduler, DeepSpeedSchedulerWrapper):
            self.scheduler.load_state_dict(torch.load(folder / SCHEDULER, weights_only=True))
        _set_rng_state(torch.load(_rng_file(folder), weights_only=True))


def copy_trainable(model: torch.nn.Module, saved: dict[str, torch.Tensor]) -> None:
    """Give a model the trainable weights of another that was made the same way.

    Raises:
        InputError: that one trained other weights.
    """
    mine = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if saved.keys() != mine.keys():
        raise InputError(
            "the saved state holds other weights than are trained now",
            remedy="resume with the settings that the run began with",
        )
    with torch.no_grad():
        for name, weight in mine.items():
            weight.copy_(saved[name])


def _accelerator(args: TrainingArguments) -> Accelerator:
    """Accumulation is ours: how many passes a step has differs from step to step. A pass may leave out the vision
    tower, so that DDP looks for parameters without a gradient."""
    _ = args.device  # sets up the process state that accelerate shares
    accelerator = Accelerator(
        mixed_precision=args.mixed_precision,
        deepspeed_plugin=args.deepspeed_plugin,
        gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1),
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
    )
    if accelerator.distributed_type == DistributedType.DEEPSPEED and args.hf_deepspeed_config is None:
        propagate_args_to_deepspeed(accelerator, args)  # `accelerate launch` brought its own configuration
    return accelerator


def _optimizer(module: torch.nn.Module, section: TrainSection) -> torch.optim.Optimizer:
    """AdamW; norms and biases do not decay, and parts of the model may have a learning rate of their own."""
    decayed = get_parameter_names(module, [torch.nn.LayerNorm], list(NO_DECAY))
    groups = param_groups(module, section.learning_rates, section.learning_rate, section.weight_decay, set(decayed))
    return torch.optim.AdamW(list(groups), lr=section.learning_rate, betas=(0.9, 0.999), eps=1e-8, fused=True)


def _save(value: Any, file: Path) -> None:
    """`torch.save` through a Python file, whose errors say why they cannot be written."""
    with file.open("wb") as out:
        torch.save(value, out)


def _rng_file(folder: Path) -> Path:
    return folder / f"rng_state_{distributed.rank()}.pt"


def _rng_state() -> dict[str, Any]:
    name, keys, *rest = np.random.get_state()
    return {
        "python": random.getstate(),
        "numpy": (name, torch.from_numpy(np.asarray(keys).astype(np.int64)), *rest),
        "cpu": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def _set_rng_state(state: dict[str, Any]) -> None:
    random.setstate(state["python"])
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(state["cpu"])
    if state["cuda"]:
        torch.cuda.set_rng_state_all(state["cuda"])
