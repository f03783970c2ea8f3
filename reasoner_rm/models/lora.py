"""LoRA adapters. With the adapter disabled, the policy is its base model, which serves as reference and listener at no
extra memory.

PEFT inserts the layers into the model in place, so all other code keeps using the same module.
"""

from __future__ import annotations

import copy
import dataclasses
from contextlib import AbstractContextManager, nullcontext

import torch

from reasoner_rm.config import LoraSection
from reasoner_rm.models.loading import Vlm, prepare
from reasoner_rm.models.quantization import is_quantized
from reasoner_rm.models.weight_export import iter_full_weights


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
