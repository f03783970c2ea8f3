"""The vision tower runs once per distinct image of a batch; a frozen tower once per image of a run.

Features are reused inside the model's own forward, which Qwen3-VL's deepstack features require: two hooks on the tower,
active when the call has the keyword ``media_order``, and for a frozen tower a caching forward, which uses the keyword
``media_keys``.
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
    """Keyword arguments of a Qwen-VL forward for the images of its prompts."""
    if vision is None:
        return {}
    kwargs: dict[str, Any] = {"pixel_values": vision.pixel_values, "image_grid_thw": vision.grid_thw}
    if vision.keys:
        kwargs["media_keys"] = vision.keys
    if vision.order is not None:
        kwargs |= {"image_grid_thw": vision.grid_thw[vision.order], "media_order": vision.order}
    return kwargs


def deduplicate_images(tower: torch.nn.Module) -> None:
    """Add the keyword ``media_order`` to a vision tower: it then computes each distinct image once."""
    tower.register_forward_pre_hook(_distinct_grids, with_kwargs=True)
    tower.register_forward_hook(_expand, with_kwargs=True)


def _distinct_grids(tower: Any, args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any]] | None:
    order = kwargs.get("media_order")
    if order is None:
        return None
    first = (order == torch.arange(int(order.max()) + 1, device=order.device)[:, None]).int().argmax(1)
    return args, {**kwargs, "grid_thw": kwargs["grid_thw"][first]}


def _expand(tower: Any, args: tuple, kwargs: dict[str, Any], output: Any) -> Any:
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
    """The sum of a tower's outputs for the smallest possible image, in black.

    Args:
        like: a tensor of the tower's dtype and device; accessing a weight of a sharded model would gather it.
    """
    projection, side = tower.patch_embed.proj, tower.spatial_merge_size
    pixels = like.new_zeros(side**2, math.prod(projection.kernel_size) * projection.in_channels)
    output = tower(pixels, grid_thw=torch.tensor([[1, side, side]], device=like.device))
    layers = [output.pooler_output, *(getattr(output, "deepstack_features", None) or ())]
    return torch.stack([layer.sum() for layer in layers]).sum()


def cache_features(tower: torch.nn.Module, max_bytes: int = 2**30) -> None:
    """Cache a frozen tower's features by image, up to ``max_bytes``; the least recently used are evicted.

    Raises:
        ValueError: the tower is trained, so that its features change.
    """
    if any(p.requires_grad for p in tower.parameters()):
        raise ValueError("the vision tower is trained: its features cannot be cached")
    tower.forward = _CachedForward(tower, max_bytes)  # type: ignore[method-assign]


def has_cache(tower: torch.nn.Module) -> bool:
    """Whether :func:`cache_features` was called on it."""
    return isinstance(tower.forward, _CachedForward)


class _CachedForward:
    """A tower's forward that computes only images without cached features. ``grid_thw``: of the distinct images."""

    def __init__(self, tower: Any, max_bytes: int):
        self.compute, self.merge = tower.forward, tower.spatial_merge_size
        self.output_type: Any = None
        self.max_bytes, self.cached_bytes = max_bytes, 0
        self.features: OrderedDict[str, tuple[Tensor, ...]] = OrderedDict()

    def __deepcopy__(self, memo: dict[int, Any]) -> _CachedForward:
        return self  # a copied policy, such as the reference, has the same frozen tower

    def __call__(self, hidden_states: Tensor, grid_thw: Tensor, **kwargs: Any) -> Any:
        keys: Sequence[str] = kwargs.pop("media_keys", ())
        if not keys:
            return self.compute(hidden_states, grid_thw=grid_thw, **kwargs)
        new = [i for i, key in enumerate(keys) if key not in self.features]
        if new:
            parts = hidden_states.split(grid_thw.prod(-1).tolist())
            with torch.no_grad():
                output = self.compute(torch.cat([parts[i] for i in new]), grid_thw=grid_thw[new], **kwargs)
            self.output_type = type(output)
            layers = [output.pooler_output, *(getattr(output, "deepstack_features", None) or ())]
            sizes = (grid_thw[new].prod(-1) // self.merge**2).tolist()
            for i, features in zip(new, zip(*(layer.split(sizes) for layer in layers), strict=True), strict=True):
                self._store(keys[i], features)
        final, *deeper = (torch.cat(layer) for layer in zip(*(self.features[key] for key in keys), strict=True))
        self._evict(keys)
        return self.output_type(pooler_output=final, **({"deepstack_features": deeper} if deeper else {}))

    def _store(self, key: str, features: tuple[Tensor, ...]) -> None:
        self.features[key] = tuple(f.clone() for f in features)
        self.cached_bytes += sum(f.nbytes for f in features)

    def _evict(self, used: Sequence[str]) -> None:
        for key in used:
            self.features.move_to_end(key)
        while self.cached_bytes > self.max_bytes and len(self.features) > len(used):
            self.cached_bytes -= sum(f.nbytes for f in self.features.popitem(last=False)[1])
