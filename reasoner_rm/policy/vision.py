"""The vision tower runs once per distinct image of a batch, however many prompts show it.

The features are handed over inside the model's own forward (Qwen3-VL's deepstack features can enter no other way):
two hooks on the tower, active when the keyword ``shown_order`` comes with the call.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from reasoner_rm.schema import VisionInputs


def vision_keywords(vision: VisionInputs | None) -> dict[str, Tensor]:
    """What a Qwen-VL forward wants to be told about the images of its prompts."""
    if vision is None:
        return {}
    if vision.order is None:
        return {"pixel_values": vision.pixel_values, "image_grid_thw": vision.grid_thw}
    return {
        "pixel_values": vision.pixel_values,
        "image_grid_thw": vision.grid_thw[vision.order],
        "shown_order": vision.order,
    }


def share_features(tower: torch.nn.Module) -> None:
    """Teach a vision tower the keyword ``shown_order``."""
    tower.register_forward_pre_hook(_distinct_grids, with_kwargs=True)
    tower.register_forward_hook(_spread, with_kwargs=True)


def _distinct_grids(tower: Any, args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any]] | None:
    order = kwargs.get("shown_order")
    if order is None:
        return None
    first = (order == torch.arange(int(order.max()) + 1, device=order.device)[:, None]).int().argmax(1)
    return args, {**kwargs, "grid_thw": kwargs["grid_thw"][first]}


def _spread(tower: Any, args: tuple, kwargs: dict[str, Any], output: Any) -> Any:
    order = kwargs.get("shown_order")
    if order is None:
        return output
    sizes = (kwargs["grid_thw"].prod(-1) // tower.spatial_merge_size**2).tolist()

    def per_placeholder(features: Tensor) -> Tensor:
        parts = features.split(sizes)
        return torch.cat([parts[i] for i in order.tolist()])

    output.pooler_output = per_placeholder(output.pooler_output)
    if getattr(output, "deepstack_features", None) is not None:
        output.deepstack_features = [per_placeholder(f) for f in output.deepstack_features]
    return output
