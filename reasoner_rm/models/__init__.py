"""Models: loading, family adapters, tiny checkpoints, prompts as tensors, and log-probabilities of groups."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reasoner_rm.models.group_logprobs import shared_prefix_logprobs
    from reasoner_rm.models.loading import Vlm, load_vlm

_HOME = {"Vlm": "loading", "load_vlm": "loading", "shared_prefix_logprobs": "group_logprobs"}
__all__ = ["Vlm", "load_vlm", "shared_prefix_logprobs"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(name)
    import importlib

    return getattr(importlib.import_module(f"reasoner_rm.models.{_HOME[name]}"), name)
