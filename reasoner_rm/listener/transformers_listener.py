"""A listener on a transformers model: images and prompt once per group, the G reasonings as continuations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch

from reasoner_rm.listener.base import BaseListener, ListenerQuery, option_token_ids
from reasoner_rm.models.loading import Vlm
from reasoner_rm.models.lora import disable_adapter
from reasoner_rm.models.packing import forward_groups
from reasoner_rm.models.prompt_encoder import PromptEncoder
from reasoner_rm.models.token_logprobs import processed_logits
from reasoner_rm.tasks.render import Prompt, Template


class TransformersListener(BaseListener):
    """Reads each option's probability in one forward pass.

    Args:
        vlm: is frozen here; a LoRA policy is heard with its adapter off and goes on being trained.
        rows: how many reasonings are read side by side.
        settings: of :class:`AskingListener`.
    """

    def __init__(self, vlm: Vlm, template: Template, *, rows: int = 256, **settings: Any):
        super().__init__(template, **settings)
        self.vlm = vlm
        self.rows = rows
        self.encoder = PromptEncoder(vlm)
        if vlm.adapter is None:
            vlm.model.requires_grad_(False).eval()

    def option_logprobs(self, asked: Sequence[ListenerQuery]) -> list[list[Sequence[float] | None]]:
        return [answers for batch in self._batches(asked) for answers in self._read(batch)]

    def _batches(self, asked: Sequence[ListenerQuery]) -> Iterator[Sequence[ListenerQuery]]:
        """As many groups as ``rows`` stems allow, at least one."""
        start = 0
        while start < len(asked):
            end, rows = start + 1, len(asked[start].prefixes)
            while end < len(asked) and rows + len(asked[end].prefixes) <= self.rows:
                rows += len(asked[end].prefixes)
                end += 1
            yield asked[start:end]
            start = end

    def _read(self, batch: Sequence[ListenerQuery]) -> list[list[Sequence[float] | None]]:
        tokens = [[option_token_ids(stem, q.options, self.vlm.tokenizer) for stem in q.prefixes] for q in batch]
        said = [[known[0] for known in row if known] for row in tokens]
        busy = [i for i, row in enumerate(said) if row]
        if not busy:
            return [[None] * len(row) for row in tokens]
        logprobs = iter(self._last_logprobs([batch[i].prompt for i in busy], [said[i] for i in busy]))
        return [[next(logprobs)[known[1]].tolist() if known else None for known in row] for row in tokens]

    @torch.no_grad()
    def _last_logprobs(self, prompts: Sequence[Prompt], said: Sequence[Sequence[list[int]]]) -> torch.Tensor:
        """Log-probabilities [B, V] of the token after each of the groups' texts."""
        encoded = self.encoder.batch([self.encoder.encode(prompt) for prompt in prompts])
        training = self.vlm.model.training
        self.vlm.model.eval()
        with disable_adapter(self.vlm):
            states = forward_groups(self.vlm, encoded, said)
        self.vlm.model.train(training)
        last = states.hidden[states.last]
        return processed_logits(self.vlm.model.lm_head, last, self.vlm.banned_token_ids, 1.0).log_softmax(-1).cpu()
