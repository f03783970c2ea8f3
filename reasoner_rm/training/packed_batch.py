"""What one forward pass of the update sees: as many groups as its tokens allow, or a share of one large group."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from reasoner_rm.models.prompt_encoder import EncodedPrompt
from reasoner_rm.schema import Completion, ScoredGroup


@dataclass(slots=True)
class GroupSlice:
    """Some completions of one scored group: those of ``chosen``."""

    scored: ScoredGroup
    prompt: EncodedPrompt
    chosen: range

    @property
    def completions(self) -> Sequence[Completion]:
        return self.scored.group.completions[self.chosen.start : self.chosen.stop]


@dataclass(slots=True)
class PackedBatch:
    """Pieces that share a forward pass, and log-probabilities [B, C] that stay as they are over μ updates. An ``idle``
    one only keeps step with other processes: it weighs nothing."""

    pieces: list[GroupSlice]
    old: Tensor | None = None
    reference: Tensor | None = None
    dummy: bool = False

    @property
    def prompts(self) -> list[EncodedPrompt]:
        return [piece.prompt for piece in self.pieces]

    @property
    def token_ids(self) -> list[list[tuple[int, ...]]]:
        return [[c.token_ids for c in piece.completions] for piece in self.pieces]

    @property
    def completions(self) -> list[Completion]:
        return [c for piece in self.pieces for c in piece.completions]

    def advantages(self, device: torch.device) -> Tensor:
        """[B], or [B, C] where a reward speaks of single sentences."""
        rows = [(p.scored, i) for p in self.pieces for i in p.chosen]
        flat = torch.tensor([scored.advantages[i] for scored, i in rows], device=device)
        if all(scored.token_advantages is None for scored, _ in rows):
            return flat
        out = flat[:, None].repeat(1, max(len(c.token_ids) for c in self.completions))
        for row, (scored, i) in enumerate(rows):
            if scored.token_advantages is not None:
                own = torch.tensor(scored.token_advantages[i], device=device)
                out[row, : len(own)] = own
        return out

    def weights(self, device: torch.device) -> Tensor:
        """[B], each sample's weight for its completions."""
        if self.dummy:
            return torch.zeros(len(self.completions), device=device)
        return torch.tensor([p.scored.group.sample.weight for p in self.pieces for _ in p.chosen], device=device)

    def sampler_logprobs(self, mask: Tensor) -> Tensor:
        """[B, C] as the engine reported them."""
        out = torch.zeros(mask.shape, device=mask.device)
        for row, completion in enumerate(self.completions):
            out[row, : len(completion.logprobs)] = torch.tensor(completion.logprobs)
        return out


def split(groups: Iterable[tuple[ScoredGroup, EncodedPrompt]], max_tokens: int | None) -> list[PackedBatch]:
    """Fill parts with whole groups, in order, up to ``max_tokens`` each (None: all in one).

    A group that is larger than that alone goes in several parts, each with the prompt again; a single completion that
    is too long with its prompt is a part of its own.
    """
    parts: list[PackedBatch] = []
    room = 0
    for piece in (small for scored, prompt in groups for small in _pieces(scored, prompt, max_tokens)):
        size = _size(piece)
        if not parts or (max_tokens is not None and size > room):
            parts.append(PackedBatch([]))
            room = max_tokens or 0
        parts[-1].pieces.append(piece)
        room -= size
    return parts


def dummy(parts: Sequence[PackedBatch]) -> PackedBatch:
    """The smallest pass that can be made of these: one completion, for nothing."""
    every = [GroupSlice(p.scored, p.prompt, range(i, i + 1)) for part in parts for p in part.pieces for i in p.chosen]
    return PackedBatch([min(every, key=_size)], dummy=True)


def _pieces(scored: ScoredGroup, prompt: EncodedPrompt, max_tokens: int | None) -> Iterator[GroupSlice]:
    lengths = [len(c.token_ids) for c in scored.group.completions]
    start, room = 0, max_tokens
    for i, length in enumerate(lengths):
        if room is not None and max_tokens is not None:
            if i == start:
                room = max_tokens - len(prompt.input_ids)
            elif length > room:
                yield GroupSlice(scored, prompt, range(start, i))
                start, room = i, max_tokens - len(prompt.input_ids)
            room -= length
    yield GroupSlice(scored, prompt, range(start, len(lengths)))


def _size(piece: GroupSlice) -> int:
    return len(piece.prompt.input_ids) + sum(len(c.token_ids) for c in piece.completions)
