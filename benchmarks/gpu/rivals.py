"""Other forms of shared-prefix attention, as rivals of `models.attention.PackedAttention`, with its layout of a row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


class GroupedAttention:
    """Two SDPA calls a group, as PrefixGrouper has it: the prompt's own; and the completions', as a padded batch, each
    with a copy of the prompt's keys and values before its own."""

    def __init__(self, prompts: Sequence[int], completions: Sequence[Sequence[int]], device: Any):
        self.prompts, self.tails, start, self.groups = prompts, sum(prompts), 0, []
        for prompt, lengths in zip(prompts, completions, strict=True):
            counts = torch.tensor(lengths, device=device)
            columns = torch.arange(max(lengths), device=device)
            valid = columns < counts[:, None]
            rows = (counts.cumsum(0) - counts)[:, None] + columns.minimum(counts[:, None] - 1)
            mask = torch.ones(len(columns), prompt + len(columns), dtype=torch.bool, device=device).tril(prompt)
            if torch.device(device).type == "cuda":
                from torch.nn.attention.bias import causal_lower_right

                mask = causal_lower_right(len(columns), prompt + len(columns))
            self.groups.append((start, prompt, sum(lengths), valid, rows, mask))
            start += prompt

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        prompts, tails, tail = [], [], self.tails
        for start, length, tokens, valid, rows, mask in self.groups:
            q, k, v = (x[:, :, start : start + length] for x in (query, key, value))
            own = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale, enable_gqa=True)
            prompts.append(own[0].transpose(0, 1))
            mine = [x[0, :, tail : tail + tokens][:, rows].transpose(0, 1) for x in (query, key, value)]
            count = len(rows)
            keys, values = (
                torch.cat([shared.expand(count, -1, -1, -1), c], 2) for shared, c in ((k, mine[1]), (v, mine[2]))
            )
            out = F.scaled_dot_product_attention(mine[0], keys, values, attn_mask=mask, scale=scale, enable_gqa=True)
            tails.append(out.transpose(1, 2)[valid])
            tail += tokens
        return torch.cat([*prompts, *tails])[None]


def dense(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    prompts: Sequence[int],
    completions: Sequence[Sequence[int]],
    scale: float,
) -> Tensor:
    """The same attention with a mask, for a row [L, H, D]."""
    owners = [(g, 0) for g, n in enumerate(prompts) for _ in range(n)]
    owners += [(g, i) for g, row in enumerate(completions) for i, n in enumerate(row, 1) for _ in range(n)]
    group, part = torch.tensor(owners, device=query.device).T
    mask = (group[:, None] == group) & ((part == 0) | (part[:, None] == part))
    mask &= torch.ones_like(mask).tril()
    key, value = (x.repeat_interleave(query.shape[1] // x.shape[1], 1) for x in (key, value))
    scores = torch.einsum("qhd,khd->hqk", query, key) * scale
    return torch.einsum("hqk,khd->qhd", scores.masked_fill(~mask, -torch.inf).softmax(-1), value)
