"""Adapters for what differs by model family, chosen by the checkpoint's `model_type`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from reasoner_rm.errors import InputError
from reasoner_rm.log import warn_once
from reasoner_rm.schema import BoxSpace

if TYPE_CHECKING:
    import torch

IMAGE_TOKEN = "<|image_pad|>"
VISUAL_TOKENS = ("<|vision_start|>", "<|vision_end|>", "<|vision_pad|>", IMAGE_TOKEN, "<|video_pad|>")
"""Placeholders that may never be sampled: one of them in a completion breaks the next forward pass."""


@dataclass(frozen=True, slots=True)
class Family:
    """A model family.

    ``box_space``: the coordinates in which it writes boxes. ``supports_packing``: its attention supports packed groups,
    in which a prompt is computed once for all its completions.
    """

    model_type: str
    box_space: BoxSpace
    supports_packing: bool = True

    def positions(
        self, model: Any, input_ids: torch.Tensor, attention_mask: torch.Tensor, grid: torch.Tensor | None
    ) -> torch.Tensor:
        """M-RoPE positions [3, B, P] of padded prompts; a continuation starts at each row's maximum plus one."""
        config = model.config
        token_types = (input_ids == config.image_token_id).int() + 2 * (input_ids == config.video_token_id).int()
        positions, _ = model.model.get_rope_index(
            input_ids, mm_token_type_ids=token_types, image_grid_thw=grid, attention_mask=attention_mask
        )
        return positions


FAMILIES = {
    f.model_type: f
    for f in (
        Family("qwen2_vl", "normalized_1000"),
        Family("qwen2_5_vl", "processed"),
        Family("qwen3_vl", "normalized_1000"),
        Family("qwen3_vl_moe", "normalized_1000"),
        Family("qwen3_5", "normalized_1000"),
        Family("qwen3_5_moe", "normalized_1000"),
    )
}


def get_family(config: Any, where: str) -> Family:
    """The adapter for a checkpoint's configuration. A family without packing runs in the repeated form, with one
    warning.

    Raises:
        InputError: an architecture without an adapter: the coordinates of its boxes and its positions are unknown.
    """
    family = FAMILIES.get(config.model_type)
    if family is None:
        raise InputError(
            f"{where} is a {config.model_type!r} checkpoint, which is not supported",
            remedy=f"use one of these architectures: {', '.join(FAMILIES)}",
        )
    if not family.supports_packing:
        warn_once(f"{family.model_type} is not packed: every completion repeats its prompt, which is slower")
    return family
