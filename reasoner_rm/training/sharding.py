"""Models whose weights are sharded over processes (ZeRO-3, FSDP2): gathering them for a limited time."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch

from reasoner_rm import distributed


def is_sharded(model: torch.nn.Module) -> bool:
    """Whether a process holds a part of each weight only."""
    return any(hasattr(p, "ds_id") or type(p).__name__ == "DTensor" for p in model.parameters())


def disable_op_build() -> None:
    """On a CPU, where DeepSpeed is only tried out: torch's own collectives, not an operator that it would compile first
    (minutes, whenever it is not cached)."""
    import deepspeed

    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False


@contextlib.contextmanager
def summon_full_params(wrapped: Any) -> Iterator[None]:
    """Inside, every process holds all the weights and may call the model's inner modules as often as it likes, without
    keeping step with the others (they sample until their own last completion ends). Nobody may change the weights.

    Args:
        wrapped: what `accelerate` made of the model; one whose weights are whole already passes through.
    """
    if not is_sharded(wrapped):
        yield
    elif isinstance(wrapped, torch.distributed.fsdp.FSDPModule):
        with _unsharded(wrapped):
            yield
    else:
        with _gathered(wrapped):
            yield


def gather_trainable(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The trained weights by name, unsharded. Collective: call it on every process; of a sharded model the first one
    gets copies in CPU memory, the others nothing."""
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if not is_sharded(model):
        return {name: p.detach().contiguous() for name, p in trained.items()}
    found = {}
    for name, parameter in trained.items():
        with one_gathered(parameter) as whole:
            if distributed.is_main():
                found[name] = whole.detach().cpu().clone()
    return found


@contextlib.contextmanager
def one_gathered(parameter: Any) -> Iterator[Any]:
    """Inside, one weight as a whole. Collective: call it on every process."""
    if not hasattr(parameter, "ds_id"):
        yield parameter.full_tensor() if type(parameter).__name__ == "DTensor" else parameter
        return
    import deepspeed

    with deepspeed.zero.GatheredParameters([parameter]):
        yield parameter


@contextlib.contextmanager
def _gathered(engine: Any) -> Iterator[None]:
    """Of a DeepSpeed engine. Its hooks would fetch and drop every module's weights, so they rest meanwhile."""
    import deepspeed

    offload = getattr(engine.optimizer, "parameter_offload", engine.optimizer)
    with deepspeed.zero.GatheredParameters(list(engine.module.parameters())):
        for parameter in engine.module.parameters():
            parameter.ds_active_sub_modules.clear()
        for hook in (*offload.forward_hooks, *offload.backward_hooks):
            hook.remove()
        offload.forward_hooks, offload.backward_hooks = [], []
        try:
            yield
        finally:
            coordinator = offload.param_coordinator
            if not coordinator.is_invalid_trace():
                coordinator._invalidate_trace()
            offload._register_deepspeed_module(offload.module)


@contextlib.contextmanager
def _unsharded(model: Any) -> Iterator[None]:
    """Of an FSDP2 model, set to keep its weights after a forward pass."""
    parts = [m for m in model.modules() if isinstance(m, torch.distributed.fsdp.FSDPModule)]
    for part in parts:
        part.set_reshard_after_forward(False, recurse=False)
        part.unshard()
    try:
        yield
    finally:
        for part in parts:
            part.set_reshard_after_forward(part is not model, recurse=False)
            part.reshard()
