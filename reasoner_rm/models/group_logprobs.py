"""Per-token log-probabilities of groups: log_softmax(logits / T) with banned tokens at minus infinity."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from torch import Tensor

from reasoner_rm.models.loading import Vlm
from reasoner_rm.models.packing import (
    Continuations,
    ContinuationStates,
    forward_groups,
    forward_repeated,
    pad_right,
    run_packed,
)
from reasoner_rm.models.prompt_encoder import PromptBatch
from reasoner_rm.models.token_logprobs import chunked_token_logprobs

ForwardFn: TypeAlias = Callable[[Vlm, PromptBatch, Continuations], ContinuationStates]


@dataclass  # not frozen, no slots: ZeRO-3 rewrites the tensors of what a module returns
class GroupLogprobs:
    """``logprobs`` and ``mask`` [B, C], B = all completions of all groups in order; ``entropy`` [B, C] on request."""

    logprobs: Tensor
    mask: Tensor
    entropy: Tensor | None = None


def group_logprobs(
    vlm: Vlm,
    prompts: PromptBatch,
    completions: Continuations,
    temperature: float = 1.0,
    entropy: bool = False,
    form: ForwardFn = forward_groups,
) -> GroupLogprobs:
    """Log-probabilities of N ragged groups.

    Args:
        prompts: the N prompts.
        completions: for each prompt its G_i completions as token ids, at least one each; lengths may differ.
        form: how the groups pass through the model; by default the best that the model knows.
    """
    states = form(vlm, prompts, [[c[:-1] for c in group] for group in completions])
    ids, mask = pad_right([c for group in completions for c in group], vlm.tokenizer.pad_token_id, vlm.device)
    kept = mask.bool()
    logprobs, spread = token_logprobs(vlm, states.hidden[states.predict_positions], ids[kept], temperature, entropy)

    def padded(values: Tensor) -> Tensor:
        return values.new_zeros(mask.shape).masked_scatter(kept, values)

    return GroupLogprobs(padded(logprobs), mask, None if spread is None else padded(spread))


shared_prefix_logprobs = functools.partial(group_logprobs, form=run_packed)
"""Log-probabilities of groups in one packed row: each prompt, and each distinct image, computed once."""
repeated_logprobs = functools.partial(group_logprobs, form=forward_repeated)
"""The same numbers the usual way, for tests and for comparison."""


def token_logprobs(
    vlm: Vlm, hidden: Tensor, ids: Tensor, temperature: float, entropy: bool
) -> tuple[Tensor, Tensor | None]:
    """Log-probabilities [T] of ``ids`` [T] under ``hidden`` [T, D], the states one position before each; their
    distributions' entropies [T], which bear no gradient."""
    head = vlm.model.lm_head

    def read(states: Tensor) -> tuple[Tensor, Tensor | None]:
        return chunked_token_logprobs(states, head.weight, ids, vlm.banned_token_ids, temperature, entropy)

    return head(hidden, within=read)
