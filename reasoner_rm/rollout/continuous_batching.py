"""Continuous batching: new rows join a running batch, so that no request waits for the longest completion before it."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from reasoner_rm.models.loading import Vlm
from reasoner_rm.models.prefix_cache import SharedPrefixCache, prefill
from reasoner_rm.models.prompt_encoder import EncodedPrompt, PromptEncoder
from reasoner_rm.models.slot_cache import Slots
from reasoner_rm.models.token_logprobs import processed_logits
from reasoner_rm.rollout.base import SamplingParams
from reasoner_rm.rollout.completion import partial_text, to_completion
from reasoner_rm.rollout.transformers_engine import NO_DISTRIBUTION, sample_tokens, seeded_uniforms
from reasoner_rm.schema import Completion


@dataclass(slots=True, eq=False)
class DecodeJob:
    """One prompt whose completions are sampled, one for each seed; ``on_text``: see `GenerationRequest`. ``error`` is
    why it ended without them."""

    prompt: EncodedPrompt
    seeds: tuple[int, ...]
    sampling: SamplingParams
    on_text: Callable[[int, str], None] | None = None
    drawn: dict[int, Completion] = field(default_factory=dict)
    error: Exception | None = None

    @property
    def completions(self) -> tuple[Completion, ...]:
        """All completions, once they are there."""
        return tuple(self.drawn[i] for i in range(len(self.seeds)))


@dataclass(slots=True, eq=False)
class _Row:
    job: DecodeJob
    index: int
    noise: list[float]
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)


class ContinuousBatch:
    """Running completions. Each is sampled as by `TransformersEngine`: up to rounding it depends on its own seed and
    sampling alone, and not on the other rows."""

    def __init__(self, vlm: Vlm, encoder: PromptEncoder):
        self.vlm, self.encoder = vlm, encoder
        self.clear()

    def clear(self) -> None:
        """Drop all rows and free their keys and values."""
        self._rows: list[_Row] = []
        self._slots = Slots()
        self._hidden = self._position = torch.empty(0)

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def jobs(self) -> list[DecodeJob]:
        return list(dict.fromkeys(row.job for row in self._rows))

    @torch.inference_mode()
    def join(self, jobs: Sequence[DecodeJob]) -> None:
        """Prefill new prompts, all with the same number of completions; these are sampled from the next step on. After
        an error nothing has joined."""
        count = len(jobs[0].seeds)
        noise = [seeded_uniforms(job.seeds, job.sampling.max_tokens).tolist() for job in jobs]
        cache, hidden, position = prefill(self.vlm, self.encoder, [job.prompt for job in jobs], count)
        assert isinstance(cache, SharedPrefixCache), "the family does not support packing"
        lengths = [len(job.prompt.input_ids) for job in jobs]
        self._slots.join(cache.prompts.keys, cache.prompts.values, lengths, count, cache.states)
        new = hidden.repeat_interleave(count, 0), position.repeat_interleave(count)
        if self._rows:
            new = torch.cat([self._hidden, new[0]]), torch.cat([self._position, new[1]])
        self._hidden, self._position = new
        self._rows += [_Row(job, i, rows[i]) for job, rows in zip(jobs, noise, strict=True) for i in range(count)]

    @torch.inference_mode()
    def drop(self, jobs: Collection[DecodeJob]) -> None:
        """Remove the rows of jobs that nobody waits for any more."""
        self._leave([i for i, row in enumerate(self._rows) if row.job in jobs])

    @torch.inference_mode()
    def step(self) -> list[DecodeJob]:
        """Sample one token of every row; return the jobs that this completed, and those with an error: a row without
        finite logits ends its own job."""
        tokens = self._draw()
        done = list(dict.fromkeys(row.job for row in self._rows if math.isnan(row.logprobs[-1])))
        for job in done:
            job.error = FloatingPointError(NO_DISTRIBUTION)
        ended = [i for i, row in enumerate(self._rows) if row.job.error is not None or self._is_over(row)]
        for row in (self._rows[i] for i in ended if self._rows[i].job.error is None):
            row.job.drawn[row.index] = to_completion(self.vlm, row.token_ids, row.logprobs)
            if len(row.job.drawn) == len(row.job.seeds):
                done.append(row.job)
        tokens = tokens[self._leave(ended)]
        if self._rows:
            self._hidden = self._forward(tokens)
            self._position = self._position + 1
        return done

    def _forward(self, tokens: Tensor) -> Tensor:
        """The last hidden states [R, D] after one more token a row. The text model's own layers, without what
        transformers does around them: for a small model that is a tenth of a step."""
        text = self.vlm.model.model.language_model
        hidden, attention = text.embed_tokens(tokens[:, None]), self._slots.forward_kwargs()
        rotary = text.rotary_emb(hidden, self._position[:, None].expand(3, -1, 1))
        for layer in text.layers:
            hidden = layer(hidden, attention_mask=None, position_embeddings=rotary, **attention)
        last: Tensor = text.norm(hidden)[:, -1]
        return last

    def _leave(self, rows: Sequence[int]) -> list[int] | slice:
        """Remove rows; the old indices of the remaining ones, in their new order."""
        if not rows:
            return slice(None)
        order = self._slots.leave(rows)
        self._rows = [self._rows[i] for i in order]
        self._hidden, self._position = self._hidden[order], self._position[order]
        if not self._rows:
            self.clear()
        return order

    def _draw(self) -> Tensor:
        """Sample the next token of each row [R], and append it to the row."""
        device = self._hidden.device
        noise = torch.tensor([r.noise[len(r.token_ids)] for r in self._rows], dtype=torch.float64, device=device)
        tokens = torch.empty(noise.shape, dtype=torch.long, device=device)
        logprobs = torch.empty(noise.shape, device=device)
        for (temperature, top_p), rows in self._kinds():
            logits = processed_logits(
                self.vlm.model.lm_head, self._hidden[rows], self.vlm.banned_token_ids, temperature or 1.0
            )
            tokens[rows], logprobs[rows] = sample_tokens(logits, noise[rows], greedy=temperature == 0, top_p=top_p)
        for row, token, logprob in zip(self._rows, tokens.tolist(), logprobs.tolist(), strict=True):
            row.token_ids.append(token)
            row.logprobs.append(logprob)
            self._report_text(row)
        return tokens

    def _kinds(self) -> Sequence[tuple[tuple[float, float], list[int] | slice]]:
        """(temperature, top_p), each with its rows."""
        kinds: dict[tuple[float, float], list[int]] = {}
        for i, row in enumerate(self._rows):
            kinds.setdefault((row.job.sampling.temperature, row.job.sampling.top_p), []).append(i)
        return [(kind, rows if len(kinds) > 1 else slice(None)) for kind, rows in kinds.items()]

    def _is_over(self, row: _Row) -> bool:
        return row.token_ids[-1] in self.vlm.stop_token_ids or len(row.token_ids) == row.job.sampling.max_tokens

    def _report_text(self, row: _Row) -> None:
        """Call the job's ``on_text`` with the row's text so far."""
        if row.job.on_text is not None:
            row.job.on_text(row.index, partial_text(self.vlm, row.token_ids))
