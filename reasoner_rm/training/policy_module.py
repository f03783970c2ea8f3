"""The module that DDP and DeepSpeed wrap: one forward call is a part's log-probabilities, LM head included.

Calling the model's inner modules from outside would bypass the wrapper's forward, and gradients would not be reduced.
"""

from __future__ import annotations

from typing import Any

import torch

from reasoner_rm.models.group_logprobs import ForwardFn, GroupLogprobs, group_logprobs
from reasoner_rm.models.loading import Vlm
from reasoner_rm.models.packing import Continuations
from reasoner_rm.models.prompt_encoder import PromptBatch
from reasoner_rm.models.vision_cache import dummy_output


class PolicyModule(torch.nn.Module):
    """A policy as a function of groups."""

    def __init__(self, vlm: Vlm):
        super().__init__()
        self.policy = vlm.model
        self.vlm = vlm
        self._blind = False

    def forward(
        self, prompts: PromptBatch, completions: Continuations, temperature: float, entropy: bool, form: ForwardFn
    ) -> GroupLogprobs:
        self._blind = prompts.vision is None
        try:
            return group_logprobs(self.vlm, prompts, completions, temperature, entropy, form)
        finally:
            self._blind = False

    def always_run_vision(self) -> None:
        """Send an empty image through the vision tower, times zero, in passes that have none: other processes may have
        some, and wait for this one's part of the tower's weights, or of its gradients."""
        self.policy.model.language_model.register_forward_pre_hook(self._glance, with_kwargs=True, prepend=True)

    def _glance(self, layers: Any, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]] | None:
        """Where the model has its tower, between embedding and layers: weights are fetched in the same order, forward
        and backward."""
        if not self._blind:
            return None
        embeds = kwargs["inputs_embeds"]
        return args, kwargs | {"inputs_embeds": embeds + 0 * dummy_output(self.policy.model.visual, embeds)}

    # What `transformers.Trainer` asks a model.

    @property
    def config(self) -> Any:
        return self.policy.config

    def gradient_checkpointing_enable(self, *args: Any, **kwargs: Any) -> None:
        self.policy.gradient_checkpointing_enable(*args, **kwargs)
