"""Rollouts on the policy's own transformers model: one prefill per prompt, its cache shared by the G completions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from reasoner_rm.policy.loading import Vlm
from reasoner_rm.policy.logps import processed_logits
from reasoner_rm.policy.prefix import advance, expand, prefill
from reasoner_rm.policy.prompts import PromptEncoder
from reasoner_rm.rollout.protocol import Request, Sampling
from reasoner_rm.schema import Completion, FinishReason


class TransformersEngine:
    """Samples by inverse CDF from one uniform number per row and step, so that a completion depends on its seed
    alone and not on what else is in the batch.

    Args:
        rows: how many completions are decoded side by side.
    """

    def __init__(self, vlm: Vlm, encoder: PromptEncoder | None = None, rows: int = 128):
        self.vlm = vlm
        self.encoder = encoder or PromptEncoder(vlm)
        self.rows = rows

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[tuple[Completion, ...]]:
        training = self.vlm.model.training
        self.vlm.model.eval()
        try:
            with torch.no_grad():
                return [group for part in self._parts(requests) for group in self._answer(part, sampling)]
        finally:
            self.vlm.model.train(training)

    def _parts(self, requests: Sequence[Request]) -> Iterator[list[Request]]:
        part: list[Request] = []
        for request in requests:
            if part and sum(len(r.seeds) for r in part) + len(request.seeds) > self.rows:
                yield part
                part = []
            part.append(request)
        if part:
            yield part

    def _answer(self, requests: list[Request], sampling: Sampling) -> list[tuple[Completion, ...]]:
        vlm, device = self.vlm, self.vlm.device
        counts = [len(r.seeds) for r in requests]
        prompts = self.encoder.batch([self.encoder.encode(r.prompt) for r in requests])
        prefix = expand(prefill(vlm.model, prompts), counts)
        noise = uniforms([s for r in requests for s in r.seeds], sampling.max_tokens).to(device)
        stop = torch.tensor(vlm.stop, device=device)
        pad = vlm.tokenizer.pad_token_id
        done = torch.zeros(len(noise), dtype=torch.bool, device=device)
        tokens, logps = [], []
        hidden = prefix.last_hidden
        for step in range(sampling.max_tokens):
            token, logp = draw(processed_logits(vlm.model.lm_head, hidden, vlm.banned, sampling.temperature or 1.0),
                               noise[:, step], greedy=sampling.temperature == 0)  # fmt: skip
            tokens.append(token.masked_fill(done, pad))
            logps.append(logp)
            alive = ~done
            done |= torch.isin(token, stop)
            if bool(done.all()) or step + 1 == sampling.max_tokens:
                break
            hidden = advance(vlm.model, prefix, tokens[-1][:, None], alive.long()[:, None])[:, -1]
        rows = self._completions(torch.stack(tokens, 1).tolist(), torch.stack(logps, 1).tolist())
        return [tuple(next(rows) for _ in range(n)) for n in counts]

    def _completions(self, tokens: list[list[int]], logps: list[list[float]]) -> Iterator[Completion]:
        for ids, values in zip(tokens, logps, strict=True):
            end = next((i for i, t in enumerate(ids) if t in self.vlm.stop), None)
            length = len(ids) if end is None else end + 1
            text = self.vlm.tokenizer.decode(ids[:end], skip_special_tokens=False)
            reason: FinishReason = "length" if end is None else "stop"
            yield Completion(text, tuple(ids[:length]), tuple(values[:length]), reason)


def uniforms(seeds: Sequence[int], n: int) -> torch.Tensor:
    """Uniform numbers in [0, 1) [len(seeds), n], each row from its own seed."""
    return torch.from_numpy(np.stack([np.random.default_rng(seed).random(n) for seed in seeds]))


def draw(logits: torch.Tensor, noise: torch.Tensor, greedy: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """One token per row [B] of ``logits`` [B, V], and its log-probability [B]."""
    logps = logits.log_softmax(-1)
    if greedy:
        token = logps.argmax(-1)
    else:
        cdf = logps.double().exp().cumsum(-1)
        token = torch.searchsorted(cdf, noise[:, None] * cdf[:, -1:], right=True)[:, 0]
    return token, logps.gather(-1, token[:, None])[:, 0]
