"""A quantised base model under LoRA (QLoRA, arXiv 2305.14314), by bitsandbytes: 4-bit normal floats, or LLM.int8().

The linear layers of the language model are quantised, about 90 % of all weights. The vision tower, its mergers,
embeddings and head are not: they are small, and an error in the tower affects every token of an image.
"""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any

from reasoner_rm.config import ModelSection, Quantization
from reasoner_rm.errors import InputError

if TYPE_CHECKING:
    import torch

SKIPPED_MODULES = ["model.visual", "lm_head"]
BLOCK, BLOCKS = 64, 256
"""QLoRA's block sizes: 4-bit weights per scale, and scales per second-level scale (double quantisation)."""


def check_quantize(model: ModelSection) -> None:
    """Check a section's quantisation settings.

    Raises:
        InputError: quantisation without LoRA, or without bitsandbytes installed.
    """
    if model.quantize is None:
        return
    if model.lora is None:
        raise InputError(
            f"model.quantize: weights in {model.quantize} cannot be trained",
            remedy="set model.lora as well, or leave model.quantize out",
        )
    if importlib.util.find_spec("bitsandbytes") is None:
        raise InputError("model.quantize: bitsandbytes is not installed", remedy="install reasoner-rm[qlora]")


def check_unsharded(quantized: bool) -> None:
    """Check before weights are sharded over processes.

    Raises:
        InputError: they are quantised.
    """
    if quantized:
        raise InputError(
            "model.quantize: quantised weights cannot be sharded over processes (ZeRO-3, FSDP)",
            remedy="use ZeRO-2 or DDP",
        )


def is_quantized(model: torch.nn.Module) -> bool:
    """Whether bitsandbytes holds some of its weights."""
    return bool(getattr(model, "is_quantized", False))


def quantized(kind: Quantization, dtype: torch.dtype) -> Any:
    """The quantisation configuration for transformers.

    Args:
        dtype: of the weights that are not quantised, in which 4-bit ones are computed with, too: transformers' default
            is fp32.
    """
    from transformers import BitsAndBytesConfig

    if kind == "int8":
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=SKIPPED_MODULES)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=kind,
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
        llm_int8_skip_modules=SKIPPED_MODULES,
    )


def quantized_layers(model: torch.nn.Module) -> list[Any]:
    """The layers whose weights bitsandbytes holds."""
    if not is_quantized(model):
        return []
    from bitsandbytes.nn import Linear4bit, Linear8bitLt

    return [module for module in model.modules() if isinstance(module, Linear4bit | Linear8bitLt)]


def dequantize(layer: Any) -> torch.Tensor:
    """The dequantised weights [out, in] of a layer."""
    from peft.utils.integrations import dequantize_module_weight

    return dequantize_module_weight(layer).detach()


def disable_repacking(model: torch.nn.Module) -> None:
    """Keep 4-bit layers on a CPU from repacking their weights at the first pass without gradients, which rounds the
    scales and blocks later gradients."""
    for layer in quantized_layers(model):
        layer.support_avx512bf16_for_cpu = False


def stored_bytes(kind: Quantization, rows: int, columns: int) -> float:
    """Bytes of a matrix with its scales: in 8 bits each row has one.

    >>> stored_bytes("nf4", 1024, 1024) / 2**20
    0.515869140625
    """
    weights = rows * columns
    return weights + 4 * rows if kind == "int8" else weights * (1 / 2 + 1 / BLOCK + 4 / (BLOCK * BLOCKS))
