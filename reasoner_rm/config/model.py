"""The policy: where it comes from, how it is held, and what of it is trained."""

from __future__ import annotations

from typing import Literal

from reasoner_rm.config.base import Count, Positive, Section, Share

ModelPart = Literal["vision", "merger", "language_model"]
Quantization = Literal["nf4", "int8"]


class LoraSection(Section):
    """Low-rank layers beside the language model's linear ones, instead of training all weights."""

    r: Count = 16
    alpha: Positive = 32.0
    dropout: Share = 0.0
    targets: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


class ModelSection(Section):
    """The policy, and the bounds of an image for policy, listener and judge alike."""

    path: str = "Qwen/Qwen2.5-VL-3B-Instruct"
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    attn_implementation: str | None = None
    min_pixels: Count | None = None
    max_pixels: Count | None = None
    freeze: tuple[ModelPart, ...] = ()
    """Parts that stay as they are: `vision` (the tower), `merger` (what brings it into the language), `language_model`
    (its embeddings and head, too)."""
    keep_features: bool = False
    """With a frozen vision tower and merger: every image passes it once, up to 1 GB of features."""
    lora: LoraSection | None = None
    quantize: Quantization | None = None
    """With `lora`, while it is trained: the language model's own weights in 4 bits (QLoRA) or 8. What a stage leaves is
    whole again."""
