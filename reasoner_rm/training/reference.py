"""The frozen policy that the KL term pulls towards, which may follow the trained one slowly."""

from __future__ import annotations

import copy
from typing import Any

import torch
from transformers import TrainerCallback

from reasoner_rm.config import GrpoSection
from reasoner_rm.errors import InputError
from reasoner_rm.models.loading import Vlm
from reasoner_rm.training.policy_module import PolicyModule
from reasoner_rm.training.sharding import one_gathered


def make_reference(vlm: Vlm, section: GrpoSection) -> PolicyModule:
    """A frozen copy of the policy, or the policy itself where that has an adapter to switch off.

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


class Following(TrainerCallback):
    """TR-DPO's soft update (arXiv 2404.09656): every so many steps, ``alpha`` of the way to the trained weights."""

    def __init__(self, reference: torch.nn.Module, alpha: float, every: int):
        self.reference, self.alpha, self.every = reference, alpha, every

    def on_step_end(self, args: Any, state: Any, control: Any, *, model: Any, **kwargs: Any) -> None:
        if state.global_step % self.every:
            return
        behind = dict(self.reference.named_parameters())
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if parameter.requires_grad:
                    with one_gathered(parameter) as whole:
                        behind[name].lerp_(whole.to(behind[name]), self.alpha)
