"""Several groups in one row, `[prompt][c1]…[cG][prompt][c1]…`: each prompt runs through the model once.

Positions restart after the prompt for every completion, so that each sees what it would see alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from reasoner_rm.policy.attention import Packed, Span
from reasoner_rm.policy.loading import Vlm
from reasoner_rm.policy.prompts import PromptBatch
from reasoner_rm.policy.vision import vision_keywords


@dataclass(frozen=True, slots=True)
class Row:
    """``hidden`` [L, D], the last layer's states of a packed row, and where its groups lie."""

    hidden: Tensor
    spans: tuple[Span, ...]

    def before(self) -> Tensor:
        """Indices of the states that each token of each continuation, and the one after its last, is read from:
        group by group, continuation by continuation; a continuation of n tokens has n + 1."""
        indices: list[Tensor] = []
        start = 0
        for span in self.spans:
            at = start + span.prompt
            for length in span.completions:
                indices.append(torch.tensor([start + span.prompt - 1]))
                indices.append(torch.arange(at, at + length))
                at += length
            start += span.length
        return torch.cat(indices).to(self.hidden.device)

    def last(self) -> Tensor:
        """Indices of the states after each continuation."""
        ends, start = [], 0
        for span in self.spans:
            at = start + span.prompt
            for length in span.completions:
                at += length
                ends.append(at - 1 if length else start + span.prompt - 1)
            start += span.length
        return torch.tensor(ends, device=self.hidden.device)


def run_packed(vlm: Vlm, prompts: PromptBatch, continuations: Sequence[Sequence[Sequence[int]]]) -> Row:
    """One forward pass over N groups.

    Args:
        continuations: for each prompt its G_i continuations as token ids, ragged; they may be empty.
    """
    device = vlm.device
    ids: list[Tensor] = []
    positions: list[Tensor] = []
    spans = []
    for row, group in enumerate(continuations):
        length = int(prompts.lengths[row])
        ids.append(prompts.input_ids[row, -length:])
        positions.append(prompts.positions[:, row, -length:])
        after = int(positions[-1].max()) + 1
        spans.append(Span(length, tuple(len(c) for c in group)))
        flat = [token for c in group for token in c]
        if flat:
            ids.append(torch.tensor(flat, device=device))
            text = torch.cat([torch.arange(after, after + len(c)) for c in group]).to(device)
            positions.append(text.expand(3, -1))
    hidden = vlm.model.model(
        input_ids=torch.cat(ids)[None],
        position_ids=torch.cat(positions, 1)[:, None],
        use_cache=False,
        groups=Packed(spans, device),
        **vision_keywords(prompts.vision),
    ).last_hidden_state[0]
    return Row(hidden, tuple(spans))
