"""The module that DDP, DeepSpeed and FSDP2 wrap: one forward call computes the log-probabilities of a pack of groups,
LM head included.

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
    """A policy as a function of groups; see :func:`group_logprobs`."""

    def __init__(self, vlm: Vlm):
        super().__init__()
        self.policy = vlm.model
        self.vlm = vlm
        self._without_images = False

    def forward(
        self,
        prompts: PromptBatch,
        completions: Continuations,
        *,
        form: ForwardFn,
        temperature: float = 1.0,
        entropy: bool = False,
        argmax: bool = False,
    ) -> GroupLogprobs:
        self._without_images = prompts.vision is None
        try:
            return group_logprobs(self.vlm, prompts, completions, temperature, entropy, form, argmax)
        finally:
            self._without_images = False

    def always_run_vision(self) -> None:
        """Run the vision tower on an empty image, times zero, in passes without images. Other processes may have
        images in the same pass, and wait for this one's part of the tower's weights, or of its gradients."""
        self.policy.model.language_model.register_forward_pre_hook(self._add_dummy, with_kwargs=True, prepend=True)

    def _add_dummy(self, layers: Any, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]] | None:
        """Between embedding and layers, where the model runs its tower: weights are fetched in the same order, forward
        and backward."""
        if not self._without_images:
            return None
        embeds = kwargs["inputs_embeds"]
        return args, kwargs | {"inputs_embeds": embeds + 0 * dummy_output(self.policy.model.visual, embeds)}

    @property
    def config(self) -> Any:
        """The model's, from which DeepSpeed's `auto` sizes are computed."""
        return self.policy.config
