"""Export of a policy's full weights under their checkpoint names, one at a time, for an engine to load."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from reasoner_rm.models.loading import Vlm
from reasoner_rm.models.quantization import dequantize, quantized_layers


@torch.no_grad()
def iter_full_weights(vlm: Vlm) -> Iterator[tuple[str, Tensor]]:
    """Names and full weights. Under ZeRO-3 and FSDP2 each is gathered in turn, so every rank must iterate to the end.

    LoRA is added to a copy, as merging into the model and back would add a rounding error per step. Quantised weights
    are dequantised.
    """
    adapted = {id(layer.base_layer.weight): layer for layer in lora_layers(vlm)}
    packed = {id(module.weight): module for module in quantized_layers(vlm.model)}
    for name, weight in vlm.model.named_parameters():
        if ".lora_" in name:
            continue
        layer = adapted.get(id(weight))
        parts = [weight] if layer is None else list(layer.parameters())
        with _gathered(parts):
            full = dequantize(packed[id(weight)]) if id(weight) in packed else _full(weight)
            dtype = weight.dtype if weight.is_floating_point() else vlm.model.dtype
            yield name.replace(".base_layer", ""), full.to(dtype) if layer is None else with_lora(layer, full, dtype)


def with_lora(layer: Any, base: Tensor, dtype: torch.dtype) -> Tensor:
    """The weight of an adapted layer with its LoRA weights added, rounded once."""
    return sum((_full(layer.get_delta_weight(a)) for a in layer.active_adapters), start=base).to(dtype)


def lora_layers(vlm: Vlm) -> list[Any]:
    """The layers that have LoRA weights."""
    if vlm.adapter is None:
        return []
    from peft.tuners.lora import LoraLayer

    return [module for module in vlm.model.modules() if isinstance(module, LoraLayer)]


def _gathered(parameters: Sequence[Tensor]) -> AbstractContextManager[Any]:
    """A context in which parameters that ZeRO-3 shards are gathered."""
    if not any(hasattr(parameter, "ds_id") for parameter in parameters):
        return nullcontext()
    import deepspeed

    return deepspeed.zero.GatheredParameters(parameters)


def _full(weight: Tensor) -> Tensor:
    data = weight.detach()
    return data.full_tensor() if isinstance(data, torch.distributed.tensor.DTensor) else data
