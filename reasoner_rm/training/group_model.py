"""The module that DDP and DeepSpeed wrap: one forward call is a part's log-probabilities, LM head included.

Calling the model's inner modules from outside would bypass the wrapper's forward, and gradients would not be reduced.
"""

from __future__ import annotations

from typing import Any

import torch

from reasoner_rm.policy.loading import Vlm
from reasoner_rm.policy.logps import Form, GroupLogps, group_logps
from reasoner_rm.policy.packing import Continuations
from reasoner_rm.policy.prompts import PromptBatch


class GroupModel(torch.nn.Module):
    """A policy as a function of groups."""

    def __init__(self, vlm: Vlm):
        super().__init__()
        self.policy = vlm.model
        self.vlm = vlm

    def forward(
        self, prompts: PromptBatch, completions: Continuations, temperature: float, entropy: bool, form: Form
    ) -> GroupLogps:
        return group_logps(self.vlm, prompts, completions, temperature, entropy, form)

    # What `transformers.Trainer` asks a model.

    @property
    def config(self) -> Any:
        return self.policy.config

    def gradient_checkpointing_enable(self, *args: Any, **kwargs: Any) -> None:
        self.policy.gradient_checkpointing_enable(*args, **kwargs)
