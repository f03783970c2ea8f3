"""The policy: its checkpoint, its precision, and which of its parts are trained."""

from __future__ import annotations

from typing import Literal

from reasoner_rm.config.base import Count, Positive, Section, Share

ModelPart = Literal["vision", "merger", "language_model"]
Quantization = Literal["nf4", "int8"]
FusedLayers = Literal["liger", "compile"]


class LoraSection(Section):
    """Low-rank adapters of the language model's linear layers, instead of training all weights."""

    r: Count = 16
    """The rank."""
    alpha: Positive = 32.0
    """The scale: the adapters' output is multiplied by alpha / r."""
    dropout: Share = 0.0
    """Dropout of the adapters' input in training."""
    targets: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    """The adapted linear layers, by the end of their name."""


class ModelSection(Section):
    """The policy, and the pixel bounds of images for policy, listener and judge."""

    path: str = "Qwen/Qwen2.5-VL-3B-Instruct"
    """A checkpoint, a run, a hub id, or `builtin:pocket-base`."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """The precision of the weights; `auto`: the checkpoint's, but `float32` while all weights are trained without
    DeepSpeed, whose optimiser keeps fp32 copies itself."""
    attn_implementation: str | None = None
    """An attention implementation by transformers' name; None: SDPA."""
    min_pixels: Count | None = None
    """The fewest pixels of a processed image; None: the processor's value."""
    max_pixels: Count | None = None
    """The most pixels of a processed image; None: the processor's value."""
    freeze: tuple[ModelPart, ...] = ()
    """Parts that are not trained: `vision` (the tower), `merger` (the projection into the language model),
    `language_model` (with its embeddings and head)."""
    cache_features: bool = False
    """With a frozen vision tower and merger: compute the features of every image once, up to 1 GB of them."""
    lora: LoraSection | None = None
    """Train low-rank adapters instead of all weights."""
    quantize: Quantization | None = None
    """With `lora`, in training: store the language model's base weights in 4 bits (QLoRA) or 8. The checkpoint of a
    stage is not quantised."""
    fused_layers: FusedLayers | None = None
    """In training: the layers' norms and MLPs by Liger's kernels (`pip install liger-kernel`; on a GPU), or compiled by
    `torch.compile`, which takes a minute at the first step."""
