"""The parts of a model (vision, merger, language model), for freezing and learning rates per part."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import torch

from reasoner_rm.config import ModelPart
from reasoner_rm.errors import InputError


def part_of(name: str) -> ModelPart:
    """The part that a weight belongs to; Qwen3-VL's mergers between layers are mergers, too.

    >>> [part_of(f"{name}.weight") for name in ("model.visual.blocks.0.mlp", "model.visual.merger.mlp.0", "lm_head")]
    ['vision', 'merger', 'language_model']
    """
    path = name.split(".")
    if "visual" not in path:
        return "language_model"
    return "merger" if any("merger" in step for step in path) else "vision"


def freeze(model: torch.nn.Module, parts: Collection[ModelPart]) -> None:
    """Freeze these parts.

    Raises:
        InputError: no trainable weight is left.
    """
    for name, weight in model.named_parameters():
        if part_of(name) in parts:
            weight.requires_grad_(False)
    if not any(weight.requires_grad for weight in model.parameters()):
        raise InputError("model.freeze names every part of the model", remedy="leave out what should be trained")


def param_groups(
    model: torch.nn.Module, rates: Mapping[ModelPart, float], rate: float, decay: float, decayed: Collection[str]
) -> Iterator[dict[str, Any]]:
    """An optimiser's parameter groups, by part and weight decay.

    Raises:
        InputError: a part has a learning rate and no trainable weight.
    """
    groups: dict[tuple[ModelPart, bool], list[torch.nn.Parameter]] = {}
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            groups.setdefault((part_of(name), name in decayed), []).append(weight)
    for part in rates:
        if not any(part == trained for trained, _ in groups):
            raise InputError(f"learning_rates.{part}: nothing of it is trained", remedy="leave it out, or unfreeze it")
    for (part, decays), weights in groups.items():
        yield {"params": weights, "lr": rates.get(part, rate), "weight_decay": decay if decays else 0.0}
