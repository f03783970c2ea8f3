"""The vision tower runs once per distinct image of a batch, however many prompts show it; frozen, once a run.

The features are handed over inside the model's own forward (Qwen3-VL's deepstack features can enter no other way):
two hooks on the tower, active when the keyword ``media_order`` comes with the call, and for a frozen tower a memory in
the place of its forward, which goes by the keyword ``shown_keys``.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from reasoner_rm.schema import VisionInputs


def vision_keywords(vision: VisionInputs | None) -> dict[str, Any]:
    """What a Qwen-VL forward wants to be told about the images of its prompts."""
    if vision is None:
        return {}
    told: dict[str, Any] = {"pixel_values": vision.pixel_values, "image_grid_thw": vision.grid_thw}
    if vision.keys:
        told["shown_keys"] = vision.keys
    if vision.order is not None:
        told |= {"image_grid_thw": vision.grid_thw[vision.order], "media_order": vision.order}
    return told


def deduplicate_images(tower: torch.nn.Module) -> None:
    """Teach a vision tower the keyword ``media_order``."""
    tower.register_forward_pre_hook(_distinct_grids, with_kwargs=True)
    tower.register_forward_hook(_spread, with_kwargs=True)


def _distinct_grids(tower: Any, args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any]] | None:
    order = kwargs.get("media_order")
    if order is None:
        return None
    first = (order == torch.arange(int(order.max()) + 1, device=order.device)[:, None]).int().argmax(1)
    return args, {**kwargs, "grid_thw": kwargs["grid_thw"][first]}


def _spread(tower: Any, args: tuple, kwargs: dict[str, Any], output: Any) -> Any:
    order = kwargs.get("media_order")
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


def dummy_output(tower: Any, like: Tensor) -> Tensor:
    """The sum of all that a tower says of the smallest image there is, which is black.

    Args:
        like: a tensor of the type and on the device that the tower computes with; to look at a weight of a sharded
            model would fetch it.
    """
    projection, side = tower.patch_embed.proj, tower.spatial_merge_size
    pixels = like.new_zeros(side**2, math.prod(projection.kernel_size) * projection.in_channels)
    output = tower(pixels, grid_thw=torch.tensor([[1, side, side]], device=like.device))
    layers = [output.pooler_output, *(getattr(output, "deepstack_features", None) or ())]
    return torch.stack([layer.sum() for layer in layers]).sum()


def cache_features(tower: torch.nn.Module, max_bytes: int = 2**30) -> None:
    """Let a frozen tower remember what it saw, up to ``max_bytes`` of features; the least recently seen goes first.

    Raises:
        ValueError: the tower is trained, so that its features change.
    """
    if any(p.requires_grad for p in tower.parameters()):
        raise ValueError("the vision tower is trained: its features cannot be kept")
    tower.forward = _Memory(tower, max_bytes)  # type: ignore[method-assign]


def has_cache(tower: torch.nn.Module) -> bool:
    """Whether :func:`keep_features` was called on it."""
    return isinstance(tower.forward, _Memory)


class _Memory:
    """A tower's forward that runs on images it has not seen. ``grid_thw`` is of the distinct images here."""

    def __init__(self, tower: Any, max_bytes: int):
        self.compute, self.merge = tower.forward, tower.spatial_merge_size
        self.kind: Any = None
        self.max_bytes, self.held = max_bytes, 0
        self.seen: OrderedDict[str, tuple[Tensor, ...]] = OrderedDict()

    def __deepcopy__(self, memo: dict[int, Any]) -> _Memory:
        return self  # a copied policy, the reference, has the same frozen tower

    def __call__(self, hidden_states: Tensor, grid_thw: Tensor, **kwargs: Any) -> Any:
        keys: Sequence[str] = kwargs.pop("shown_keys", ())
        if not keys:
            return self.compute(hidden_states, grid_thw=grid_thw, **kwargs)
        new = [i for i, key in enumerate(keys) if key not in self.seen]
        if new:
            parts = hidden_states.split(grid_thw.prod(-1).tolist())
            with torch.no_grad():
                output = self.compute(torch.cat([parts[i] for i in new]), grid_thw=grid_thw[new], **kwargs)
            self.kind = type(output)
            layers = [output.pooler_output, *(getattr(output, "deepstack_features", None) or ())]
            sizes = (grid_thw[new].prod(-1) // self.merge**2).tolist()
            for i, features in zip(new, zip(*(layer.split(sizes) for layer in layers), strict=True), strict=True):
                self._remember(keys[i], features)
        final, *deeper = (torch.cat(layer) for layer in zip(*(self.seen[key] for key in keys), strict=True))
        self._forget(keys)
        return self.kind(pooler_output=final, **({"deepstack_features": deeper} if deeper else {}))

    def _remember(self, key: str, features: tuple[Tensor, ...]) -> None:
        self.seen[key] = tuple(f.clone() for f in features)
        self.held += sum(f.nbytes for f in features)

    def _forget(self, used: Sequence[str]) -> None:
        for key in used:
            self.seen.move_to_end(key)
        while self.held > self.max_bytes and len(self.seen) > len(used):
            self.held -= sum(f.nbytes for f in self.seen.popitem(last=False)[1])
