"""Shared-prefix attention: the completions of a group attend to their prompt's keys and values without copies.

Registered with transformers as an attention implementation. A forward pass gets an :class:`AttentionPattern` as the
keyword ``groups``; without one the implementation is plain SDPA. The pattern gets queries, keys and values after
M-RoPE, for every family.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "reasoner_groups"


class AttentionPattern(Protocol):
    """The attention of one forward pass."""

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        """``query`` [B, H, L, D], ``key`` and ``value`` [B, K, L, D] with K dividing H; the outputs [B, L, H, D]."""
        ...


def _attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float,
    groups: AttentionPattern | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    if groups is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **kwargs)
    return groups.attend(module.layer_idx, query, key, value, scaling), None


AttentionInterface.register(NAME, _attention)
AttentionMaskInterface.register(NAME, sdpa_mask)


@dataclass(frozen=True, slots=True)
class GroupLayout:
    """One group in a packed row: its prompt's length and its completions' lengths, in that order."""

    prompt: int
    completions: tuple[int, ...]

    @property
    def length(self) -> int:
        return self.prompt + sum(self.completions)


class PackedAttention:
    """``[prompt][c1]…[cG]`` of several groups in one row: a prompt attends to itself, a completion to its prompt and
    itself. Exact: every token attends to the same keys as in the repeated form."""

    def __init__(self, spans: Sequence[GroupLayout], device: Any):
        self.spans = spans
        self._tails = [_Tail(span, device) for span in spans]

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        gqa = query.shape[1] != key.shape[1]
        pieces, start = [], 0
        for span, tail in zip(self.spans, self._tails, strict=True):
            q, k, v = (x[:, :, start : start + span.prompt] for x in (query, key, value))
            out = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale, enable_gqa=gqa)
            pieces.append(out[0].transpose(0, 1))
            if span.length > span.prompt:
                q, k, v = (x[0, :, start : start + span.length] for x in (query, key, value))
                pieces.append(tail.attend(q, k, v, scale, gqa))
            start += span.length
        return torch.cat(pieces)[None]


class _Tail:
    """The completions of one group, as a batch over their prompt."""

    def __init__(self, span: GroupLayout, device: Any):
        self.prompt, self.count, self.width = span.prompt, len(span.completions), max(span.completions, default=0)
        self.ragged = len(set(span.completions)) > 1
        if self.ragged:
            lengths = torch.tensor(span.completions, device=device)
            columns = torch.arange(self.width, device=device)
            self.valid = columns < lengths[:, None]
            self.rows = (lengths.cumsum(0) - lengths)[:, None] + columns.minimum(lengths[:, None] - 1).clamp(min=0)
            self.rows = self.rows.clamp(max=int(lengths.sum()) - 1)
        self.mask = _causal_mask(self.width, self.prompt + self.width, device)

    def attend(self, query: Tensor, key: Tensor, value: Tensor, scale: float, gqa: bool) -> Tensor:
        """[H, P + ΣC, D] and [K, P + ΣC, D] of one group to the completions' [ΣC, H, D]."""
        q, k, v = (self._batch(x[:, self.prompt :]) for x in (query, key, value))
        k, v = (
            torch.cat([shared[None, :, : self.prompt].expand(self.count, -1, -1, -1), own], 2)
            for shared, own in ((key, k), (value, v))
        )
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=self.mask, scale=scale, enable_gqa=gqa).transpose(1, 2)
        return out[self.valid] if self.ragged else out.flatten(0, 1)

    def _batch(self, x: Tensor) -> Tensor:
        """[H, ΣC, D] to [G, H, C, D]; short rows are padded with their last token, whose outputs are dropped."""
        if self.ragged:
            return x[:, self.rows].transpose(0, 1)
        return x.unflatten(1, (self.count, self.width)).transpose(0, 1)


def _causal_mask(rows: int, columns: int, device: Any) -> Tensor:
    """Causal attention of the last ``rows`` of ``columns`` positions. On CUDA it is a bias that needs no memory."""
    if torch.device(device).type != "cuda":
        return torch.ones(rows, columns, dtype=torch.bool, device=device).tril(columns - rows)
    from torch.nn.attention.bias import causal_lower_right  # its import takes two seconds

    mask: Tensor = causal_lower_right(rows, columns)
    return mask
