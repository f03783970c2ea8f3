"""LoRA layers that have been trained somewhat: fresh ones change nothing."""

from __future__ import annotations

import torch

from reasoner_rm.config import LoraSection
from reasoner_rm.models.loading import Vlm
from reasoner_rm.models.lora import add_lora


def with_trained_lora(vlm: Vlm, section: LoraSection) -> Vlm:
    """The model with such layers, always the same."""
    vlm = add_lora(vlm, section)
    torch.manual_seed(0)
    with torch.no_grad():
        for name, weight in vlm.model.named_parameters():
            if "lora_B" in name:
                weight.add_(0.1 * torch.randn(weight.shape))
    return vlm
