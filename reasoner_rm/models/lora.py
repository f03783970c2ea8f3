"""LoRA adapters. With the adapter disabled, the policy is its base model, which serves as reference and listener at no
extra memory.

PEFT inserts the layers into the model in place, so all other code keeps using the same module.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any

import torch

from reasoner_rm.config import LoraSection
from reasoner_rm.models.loading import Vlm, prepare
from reasoner_rm.models.quantization import is_quantized
from reasoner_rm.models.weight_export import iter_full_weights, lora_layers, with_lora


def add_lora(vlm: Vlm, section: LoraSection, seed: int = 0) -> Vlm:
    """The same model with LoRA layers in its language model; only these will be trained.

    Args:
        seed: of the layers' initialisation.

    Raises:
        ValueError: PEFT finds none of the target modules.
    """
    from peft import LoraConfig, get_peft_model

    names = "|".join(section.targets)
    config = LoraConfig(
        r=section.r,
        lora_alpha=section.alpha,
        lora_dropout=section.dropout,
        target_modules=rf".*language_model.*\.({names})",
        task_type="CAUSAL_LM",
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return dataclasses.replace(vlm, adapter=get_peft_model(vlm.model, config))


def disable_adapter(vlm: Vlm) -> AbstractContextManager[None]:
    """A context in which the model is its base model."""
    return nullcontext() if vlm.adapter is None else vlm.adapter.disable_adapter()


@contextmanager
def lora_merged(vlm: Vlm) -> Iterator[None]:
    """Inside, LoRA is added to copies of the weights, so that decoding makes no further small products: the policy
    that vLLM has as well. Afterwards the base's weights are there again, to the last bit. Weights that are quantised,
    or that processes share, stay as they are.
    """
    layers = [] if is_quantized(vlm.model) else list(filter(_can_be_merged, lora_layers(vlm)))
    with ExitStack() as restored, torch.no_grad():
        for layer in layers:
            weight, base = layer.base_layer.weight, layer.base_layer.weight.data
            weight.data = with_lora(layer, base, base.dtype)
            layer.merged_adapters = list(layer.active_adapters)
            restored.callback(_restore, layer, base)
        yield


def _restore(layer: Any, base: torch.Tensor) -> None:
    layer.base_layer.weight.data = base
    layer.merged_adapters = []


def _can_be_merged(layer: Any) -> bool:
    """Whether its adapters are on, and its weight is whole on this process (under ZeRO-3 and FSDP2 it is not)."""
    weight = layer.base_layer.weight
    shared = hasattr(weight, "ds_id") or isinstance(weight.data, torch.distributed.tensor.DTensor)
    return not layer.disable_adapters and not shared


def merge_lora(vlm: Vlm) -> Vlm:
    """A plain model with the LoRA weights added to its own, in place.

    For a quantised base it is a new model in CPU memory, with the dequantised weights, which the LoRA weights were
    trained with, and not the checkpoint's.
    """
    if vlm.adapter is None:
        return vlm
    if not is_quantized(vlm.model):
        return dataclasses.replace(vlm, model=vlm.adapter.merge_and_unload(), adapter=None)
    from accelerate import init_empty_weights

    config = copy.deepcopy(vlm.model.config)
    del config.quantization_config
    config._attn_implementation = "sdpa"  # `prepare` sets this project's own
    with init_empty_weights():
        plain = type(vlm.model)(config)
    plain.load_state_dict({name: weight.cpu() for name, weight in iter_full_weights(vlm)}, strict=False, assign=True)
    plain.tie_weights()
    plain.generation_config = vlm.model.generation_config
    return prepare(plain.eval(), vlm.processor, vlm.family, vlm.source)
