"""What one forward pass of the update sees: as many groups as its tokens allow, or some completions of one large
group."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from reasoner_rm.models.prompt_encoder import EncodedPrompt
from reasoner_rm.schema import Completion, ScoredGroup


@dataclass(frozen=True, slots=True)
class GroupSlice:
    """Some completions of one scored group: those of ``chosen``."""

    scored: ScoredGroup
    prompt: EncodedPrompt
    chosen: range

    @property
    def completions(self) -> Sequence[Completion]:
        return self.scored.group.completions[self.chosen.start : self.chosen.stop]

    @property
    def tokens(self) -> int:
        """Of the prompt, once, and of the completions."""
        return len(self.prompt.input_ids) + sum(len(c.token_ids) for c in self.completions)


@dataclass(frozen=True, slots=True)
class Pack:
    """Slices that share a forward pass: B completions of up to C tokens. A ``dummy`` has weight zero; it only makes the
    pass that other processes make at the same time."""

    slices: tuple[GroupSlice, ...]
    dummy: bool = False

    @property
    def prompts(self) -> list[EncodedPrompt]:
        return [piece.prompt for piece in self.slices]

    @property
    def token_ids(self) -> list[list[tuple[int, ...]]]:
        """Of each slice's completions."""
        return [[c.token_ids for c in piece.completions] for piece in self.slices]

    @property
    def completions(self) -> list[Completion]:
        return [c for piece in self.slices for c in piece.completions]

    def advantages(self, device: torch.device) -> Tensor:
        """[B], or [B, C] where a reward scores single sentences."""
        rows = [(piece.scored, i) for piece in self.slices for i in piece.chosen]
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
        return torch.tensor([p.scored.group.sample.weight for p in self.slices for _ in p.chosen], device=device)

    def sampler_logprobs(self, mask: Tensor) -> Tensor:
        """[B, C] as the engine reported them; NaN where it reported none."""
        out = torch.full(mask.shape, torch.nan, device=mask.device)
        for row, completion in enumerate(self.completions):
            out[row, : len(completion.logprobs)] = torch.tensor(completion.logprobs)
        return out

    def loss_tokens(self, drop_truncated: bool) -> list[int]:
        """The number of tokens of each completion that the loss includes."""
        return [0 if drop_truncated and c.finish_reason != "stop" else len(c.token_ids) for c in self.completions]


def make_packs(groups: Iterable[tuple[ScoredGroup, EncodedPrompt]], max_tokens: int | None) -> list[Pack]:
    """Fill packs with whole groups, in order, up to ``max_tokens`` each (None: all in one).

    A group that is larger than that alone goes in several packs, each with the prompt again; a single completion that
    is too long with its prompt is a pack of its own.
    """
    packs: list[list[GroupSlice]] = []
    room = 0
    for piece in (small for scored, prompt in groups for small in _slices(scored, prompt, max_tokens)):
        if not packs or (max_tokens is not None and piece.tokens > room):
            packs.append([])
            room = max_tokens or 0
        packs[-1].append(piece)
        room -= piece.tokens
    return [Pack(tuple(slices)) for slices in packs]


def dummy_pack(packs: Sequence[Pack]) -> Pack:
    """The smallest pass that can be made of these: one completion, with weight zero."""
    single = [GroupSlice(p.scored, p.prompt, range(i, i + 1)) for pack in packs for p in pack.slices for i in p.chosen]
    return Pack((min(single, key=lambda piece: piece.tokens),), dummy=True)


def _slices(scored: ScoredGroup, prompt: EncodedPrompt, max_tokens: int | None) -> Iterator[GroupSlice]:
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
