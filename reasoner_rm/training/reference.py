"""The frozen reference policy of the KL term, which may follow the trained one slowly."""

from __future__ import annotations

import copy

import torch

from reasoner_rm.config import GrpoSection
from reasoner_rm.errors import InputError
from reasoner_rm.models.loading import Vlm
from reasoner_rm.training.policy_module import PolicyModule
from reasoner_rm.training.sharding import one_gathered


def make_reference(vlm: Vlm, section: GrpoSection) -> PolicyModule:
    """A frozen copy of the policy. With LoRA, whose adapter can be disabled, and without a KL term, for which there is
    nothing to compute, it is the policy itself.

    Raises:
        InputError: it should follow, but there is no copy that could.
    """
    own = section.beta > 0 and vlm.adapter is None
    if section.sync_ref_model and not own:
        why = "LoRA is its own reference" if vlm.adapter is not None else "without grpo.beta there is no reference"
        raise InputError(f"grpo.sync_ref_model: {why}", remedy="train all weights with grpo.beta > 0, or switch it off")
    frozen = copy.copy(vlm)
    if own:
        frozen.model = copy.deepcopy(vlm.model).requires_grad_(False).eval()
    return PolicyModule(frozen)


def update_reference(reference: torch.nn.Module, policy: torch.nn.Module, alpha: float) -> None:
    """TR-DPO's soft update (arXiv 2404.09656): move the reference ``alpha`` of the way to the trained weights.
    Collective: call it on every process."""
    behind = dict(reference.named_parameters())
    with torch.no_grad():
        for name, parameter in policy.named_parameters():
            if parameter.requires_grad:
                with one_gathered(parameter) as full:
                    behind[name].lerp_(full.to(behind[name]), alpha)
