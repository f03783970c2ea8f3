"""Tokens that may never be sampled, inside vLLM: their logits are minus infinity before anything else is done.

vLLM's own ways are not exact, or not for this: a `logit_bias` ends at -100, `bad_words` must be words, and an allowed
list of a whole vocabulary travels with every request. A server takes the same class:

    vllm serve MODEL --logits-processors reasoner_rm.rollout.vllm.logits_processor:BannedTokens \\
        --additional-config '{"banned_tokens": [151652, 151653]}'
"""

from __future__ import annotations

from typing import Any

import torch
from vllm.v1.sample.logits_processor import LogitsProcessor

KEY = "banned_tokens"


class BannedTokens(LogitsProcessor):
    """Bans the token ids of `additional_config["banned_tokens"]` in all requests."""

    def __init__(self, vllm_config: Any, device: torch.device, is_pin_memory: bool):
        self.banned = torch.tensor(vllm_config.additional_config[KEY], dtype=torch.long, device=device)

    def apply(self, logits: torch.Tensor) -> torch.Tensor:
        return logits.index_fill_(-1, self.banned, -torch.inf)

    def is_argmax_invariant(self) -> bool:
        return False

    def update_state(self, batch_update: Any) -> None:
        """Nothing depends on the request."""
