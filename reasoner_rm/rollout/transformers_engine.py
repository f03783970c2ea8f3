"""Rollouts on the policy's own transformers model: one prefill per prompt, its keys and values shared by G rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import torch
from torch import Tensor

from reasoner_rm.models.loading import Vlm
from reasoner_rm.models.lora import disable_adapter, lora_merged
from reasoner_rm.models.packing import forward_groups
from reasoner_rm.models.prefix_cache import PREFILL_TOKENS, KVCache, prefill
from reasoner_rm.models.prompt_encoder import EncodedPrompt, PromptEncoder
from reasoner_rm.models.token_logprobs import processed_logits
from reasoner_rm.rollout.base import (
    Capabilities,
    GenerationRequest,
    OptionLogprobs,
    OptionQuery,
    RolloutEngine,
    SamplingParams,
    in_order,
    option_token_ids,
)
from reasoner_rm.rollout.completion import partial_text, to_completion
from reasoner_rm.schema import Completion

NO_DISTRIBUTION = "the model's logits are not finite"
COMPACT_BELOW = 0.75
"""Finished rows leave the batch as soon as what remains fits in this share of it."""


class TransformersEngine(RolloutEngine):
    """Samples by inverse CDF from one uniform number per row and step, so that a completion depends on its seed
    alone and not on what else is in the batch.

    Rows of a batch begin together, so that the G rows of a prompt read one copy of its keys and values
    (`models.prefix_cache`). `ContinuousBatch` lets rows begin at any time and therefore copies the prompt for each row.
    Used here it would take 0.93 to 1.5 times the CPU time, more for longer prompts (docs/engines.md); both loops share
    sampling, stop rules and text.

    Args:
        rows: how many completions are decoded side by side.
        max_tokens: of one forward pass over prompts, or over prompts and the prefixes whose options are asked for.
    """

    capabilities = Capabilities(option_logprobs=True)
    encoder: PromptEncoder

    def __init__(
        self, vlm: Vlm, encoder: PromptEncoder | None = None, rows: int = 128, max_tokens: int = PREFILL_TOKENS
    ):
        self.vlm = vlm
        self.encoder = encoder or PromptEncoder(vlm)
        self.rows, self.max_tokens = rows, max_tokens

    def computes_with(self, model: torch.nn.Module) -> bool:
        return self.vlm.model is model

    def generate(self, requests: Sequence[GenerationRequest], sampling: SamplingParams) -> list[tuple[Completion, ...]]:
        return in_order(self.stream(requests, sampling))

    def stream(
        self, requests: Sequence[GenerationRequest], sampling: SamplingParams
    ) -> Iterator[tuple[int, tuple[Completion, ...]]]:
        """Each request's index with its completions, batch by batch."""
        place = 0
        for part in self._parts(requests):
            for completions in self._answer_in_eval(part, sampling):
                yield place, completions
                place += 1

    def option_logprobs(self, queries: Sequence[OptionQuery]) -> list[list[OptionLogprobs]]:
        """In one forward pass per ``max_tokens`` and ``rows`` prefixes: images and prompt once per query, the
        prefixes as continuations. An adapter is switched off: the base weights answer."""
        tokens = [[option_token_ids(p, q.options, self.vlm.tokenizer) for p in q.prefixes] for q in queries]
        pending = [
            _PendingQuery(self.encoder.encode(query.prompt), [known for known in row if known])
            for query, row in zip(queries, tokens, strict=True)
            if any(row)
        ]
        logprobs = iter([found for batch in self._query_batches(pending) for found in self._read_options(batch)])
        return [[next(logprobs) if known else None for known in row] for row in tokens]

    def _query_batches(self, queries: Sequence[_PendingQuery]) -> Iterator[list[_PendingQuery]]:
        """As many queries as the limits allow, at least one."""
        batch, rows, tokens = list[_PendingQuery](), 0, 0
        for query in queries:
            more = query.tokens(self.vlm.family.supports_packing)
            if batch and (rows + len(query.prefixes) > self.rows or tokens + more > self.max_tokens):
                yield batch
                batch, rows, tokens = [], 0, 0
            batch.append(query)
            rows, tokens = rows + len(query.prefixes), tokens + more
        if batch:
            yield batch

    @torch.no_grad()
    def _read_options(self, batch: Sequence[_PendingQuery]) -> list[list[float]]:
        """For each prefix the log-probabilities of its options, of all tokens'."""
        prompts = self.encoder.batch([query.prompt for query in batch])
        training = self.vlm.model.training
        self.vlm.model.eval()
        with disable_adapter(self.vlm):
            states = forward_groups(self.vlm, prompts, [[ids for ids, _ in query.prefixes] for query in batch])
        self.vlm.model.train(training)
        last = states.hidden[states.last]
        logits = processed_logits(self.vlm.model.lm_head, last, self.vlm.banned_token_ids, 1.0)
        options = [option_ids for query in batch for _, option_ids in query.prefixes]
        rows = [row for row, ids in enumerate(options) for _ in ids]
        flat = iter(logits.log_softmax(-1)[rows, [i for ids in options for i in ids]].tolist())
        return [[next(flat) for _ in ids] for ids in options]

    @torch.no_grad()
    def _answer_in_eval(
        self, requests: list[GenerationRequest], sampling: SamplingParams
    ) -> list[tuple[Completion, ...]]:
        training = self.vlm.model.training
        self.vlm.model.eval()
        try:
            with lora_merged(self.vlm):
                return self._answer(requests, sampling)
        finally:
            self.vlm.model.train(training)

    def _parts(self, requests: Sequence[GenerationRequest]) -> Iterator[list[GenerationRequest]]:
        """Neighbours with equally many completions, up to ``rows`` of these together."""
        for count, same in groupby(requests, key=lambda r: len(r.seeds)):
            group = list(same)
            size = max(1, self.rows // count)
            yield from (group[i : i + size] for i in range(0, len(group), size))

    def _answer(self, requests: list[GenerationRequest], sampling: SamplingParams) -> list[tuple[Completion, ...]]:
        n, count = len(requests), len(requests[0].seeds)
        noise = seeded_uniforms([s for r in requests for s in r.seeds], sampling.max_tokens).to(self.vlm.device)
        stop = torch.tensor(self.vlm.stop_token_ids, device=self.vlm.device)
        tokens = torch.full(noise.shape, self.vlm.tokenizer.pad_token_id, device=self.vlm.device)
        logprobs = torch.zeros(noise.shape, device=self.vlm.device)
        state = self._prefill(requests, count)
        for step in range(sampling.max_tokens):
            token, logprob = sample_tokens(
                processed_logits(
                    self.vlm.model.lm_head, state.hidden, self.vlm.banned_token_ids, sampling.temperature or 1.0
                ),
                noise[state.index, step],
                greedy=sampling.temperature == 0,
                top_p=sampling.top_p,
            )
            alive = state.index[state.alive]
            tokens[alive, step], logprobs[alive, step] = token[state.alive], logprob[state.alive]
            self._report_text(requests, count, tokens[:, : step + 1], alive)
            state.alive &= ~torch.isin(token, stop)
            if step + 1 == sampling.max_tokens or not bool(state.alive.any()):
                break
            self._advance(state, token)
        if logprobs.isnan().any():
            raise FloatingPointError(NO_DISTRIBUTION)
        rows = (to_completion(self.vlm, *row) for row in zip(tokens.tolist(), logprobs.tolist(), strict=True))
        return [tuple(next(rows) for _ in range(count)) for _ in range(n)]

    def _report_text(self, requests: Sequence[GenerationRequest], count: int, tokens: Tensor, grown: Tensor) -> None:
        """Call ``on_text`` for each row that has a new token."""
        if not any(request.on_text for request in requests):
            return
        for row in grown.tolist():
            on_text = requests[row // count].on_text
            if on_text is not None:
                on_text(row % count, partial_text(self.vlm, tokens[row].tolist()))

    def _prefill(self, requests: Sequence[GenerationRequest], count: int) -> _State:
        prompts = [self.encoder.encode(r.prompt) for r in requests]
        cache, hidden, position = prefill(self.vlm, self.encoder, prompts, count, self.max_tokens)
        rows = len(requests) * count
        return _State(
            memory=cache,
            hidden=hidden.repeat_interleave(count, 0),
            position=position.repeat_interleave(count),
            index=torch.arange(rows, device=self.vlm.device),
            alive=torch.ones(rows, dtype=torch.bool, device=self.vlm.device),
        )

    def _advance(self, state: _State, token: Tensor) -> None:
        """Remove finished rows where that shrinks the batch enough, and run one token of every remaining row."""
        kept = state.shrink()
        if kept is not None:
            token = token[kept]
        state.hidden = self.vlm.model.model(
            input_ids=token[:, None],
            position_ids=state.position[:, None].expand(3, -1, 1),
            **state.memory.forward_kwargs(),
        ).last_hidden_state[:, -1]
        state.memory.step()
        state.position = state.position + 1


@dataclass(frozen=True, slots=True)
class _PendingQuery:
    """A prompt, and for each prefix its token ids with the ids of its options."""

    prompt: EncodedPrompt
    prefixes: Sequence[tuple[list[int], list[int]]]

    def tokens(self, packed: bool) -> int:
        """Of a forward pass over it."""
        copies = 1 if packed else len(self.prefixes)
        return copies * len(self.prompt.input_ids) + sum(len(ids) for ids, _ in self.prefixes)


@dataclass(slots=True)
class _State:
    """Rows under way, a rectangle of prompts by rows: last ``hidden`` [R, D], next ``position`` [R], ``index`` [R] of
    each row in the whole batch, and whether it is ``alive`` [R]; a finished row may stay to fill the rectangle."""

    memory: KVCache
    hidden: Tensor
    position: Tensor
    index: Tensor
    alive: Tensor

    def shrink(self) -> Tensor | None:
        """The rows that stay, when fewer do."""
        alive = self.alive.view(-1, self.memory.rows)
        per_prompt = alive.sum(1)
        prompts, count = per_prompt.nonzero()[:, 0], int(per_prompt.max())
        if len(prompts) * count > COMPACT_BELOW * alive.numel():
            return None
        first = alive[prompts].int().argsort(dim=1, descending=True, stable=True)[:, :count]
        kept = (prompts[:, None] * self.memory.rows + first).flatten()
        self.memory.select(prompts, kept, count)
        self.hidden, self.position = self.hidden[kept], self.position[kept]
        self.index, self.alive = self.index[kept], self.alive[kept]
        return kept


def seeded_uniforms(seeds: Sequence[int], n: int) -> torch.Tensor:
    """Uniform numbers in [0, 1) [len(seeds), n], each row from its own seed."""
    return torch.from_numpy(np.stack([np.random.default_rng(seed).random(n) for seed in seeds]))


def sample_tokens(
    logits: torch.Tensor, noise: torch.Tensor, greedy: bool, top_p: float = 1.0
) -> tuple[torch.Tensor, torch.Tensor]:
    """One token per row [B] of ``logits`` [B, V], and its log-probability [B] in the whole distribution. A row whose
    logits are no distribution (NaN, or nothing finite) gets some token with NaN."""
    logprobs = logits.log_softmax(-1)
    if greedy:
        token = logprobs.argmax(-1)
    else:
        probs = logprobs.double().exp()
        cdf = (probs if top_p == 1 else top_p_filter(probs, top_p)).cumsum(-1)
        token = torch.searchsorted(cdf, noise[:, None] * cdf[:, -1:], right=True)[:, 0].clamp(max=logits.shape[-1] - 1)
    return token, logprobs.gather(-1, token[:, None])[:, 0]


def top_p_filter(probs: torch.Tensor, top_p: float) -> torch.Tensor:
    """``probs`` [B, V] without the tokens before which likelier ones already hold ``top_p``; the likeliest stays."""
    ranked, order = probs.sort(dim=-1, descending=True, stable=True)
    inside = ranked.cumsum(-1) - ranked < top_p
    return probs * torch.zeros_like(inside).scatter(-1, order, inside)
