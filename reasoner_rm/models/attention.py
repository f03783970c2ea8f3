"""Shared-prefix attention: the completions of a group attend to their prompt's keys and values without copies.

Registered with transformers as attention implementations, of the language model and of the vision tower. A forward pass
of the language model gets an :class:`AttentionPattern` as the keyword ``groups``; without one its implementation is
plain SDPA. The pattern gets queries, keys and values after M-RoPE, for every family.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any, Protocol

from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from reasoner_rm.models.gated_delta import ForkedRows, Inputs, RecurrentPattern
from reasoner_rm.models.segment_attention import Prefix, Segments, segment_attention

NAME = "reasoner_groups"
VISION_NAME = "reasoner_flash_segments"
"""Of the vision tower. transformers passes offsets of the segments to an implementation with "flash" in its name, and
calls any other one segment by segment."""


class AttentionPattern(RecurrentPattern, Protocol):
    """The attention of one forward pass, and what its linear layers carry."""

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


class PackedAttention:
    """All prompts of a row, then all completions, group by group: ``[p1]…[pN][c11]…[c1G][c21]…``. A prompt attends to
    itself, a completion to its prompt and itself. Exact: every token attends to the same keys as in the repeated form.

    Built once for a pass; each layer then makes two calls, whatever the number of groups.
    """

    def __init__(self, prompts: Sequence[int], completions: Sequence[Sequence[int]], device: Any):
        """Of N groups: the length of each prompt, and of its completions."""
        tokens = [sum(group) for group in completions]
        self.segments = Segments([*prompts, *chain.from_iterable(completions)], device)
        self.prefix = Prefix(Segments(tokens, device), Segments(prompts, device)) if any(tokens) else None
        self.forked = ForkedRows(prompts, completions, device)

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        """See :class:`AttentionPattern`; B is 1."""
        q, k, v = (x[0].transpose(0, 1) for x in (query, key, value))
        return segment_attention(q, k, v, self.segments, scale, causal=True, prefix=self.prefix)[None]

    def recur(self, layer: Any, inputs: Inputs) -> Tensor:
        """See :class:`RecurrentPattern`; B is 1."""
        return self.forked.recur(layer, inputs)


# --- the vision tower ---------------------------------------------------------------------------------------------

_segments_of = WeakTensorKeyDictionary()
"""The segments that a tensor of offsets describes; all blocks of a pass get the same tensor."""


def _vision_attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: None,
    *,
    scaling: float,
    cu_seq_lens_q: Tensor,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Images and windows of a row [1, H, L, D], each attending to itself, in one call."""
    segments = _segments_of.get(cu_seq_lens_q)
    if segments is None:
        segments = Segments(cu_seq_lens_q.diff().tolist(), query.device)
        _segments_of[cu_seq_lens_q] = segments
    q, k, v = (x[0].transpose(0, 1) for x in (query, key, value))
    return segment_attention(q, k, v, segments, scaling, causal=False)[None], None


AttentionInterface.register(VISION_NAME, _vision_attention)
