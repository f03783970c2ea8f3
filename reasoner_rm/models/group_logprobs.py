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
from reasoner_rm.models.token_logprobs import TokenLogprobs, chunked_token_logprobs

ForwardFn: TypeAlias = Callable[[Vlm, PromptBatch, Continuations], ContinuationStates]


@dataclass  # not frozen, no slots: ZeRO-3 rewrites the tensors of what a module returns
class GroupLogprobs:
    """``logprobs`` and ``mask`` [B, C], B = all completions of all groups in order. On request ``entropy`` [B, C], and
    ``is_argmax`` [B, C], 1 where the token is the most probable one."""

    logprobs: Tensor
    mask: Tensor
    entropy: Tensor | None = None
    is_argmax: Tensor | None = None


def group_logprobs(
    vlm: Vlm,
    prompts: PromptBatch,
    completions: Continuations,
    temperature: float = 1.0,
    entropy: bool = False,
    form: ForwardFn = forward_groups,
    argmax: bool = False,
) -> GroupLogprobs:
    """Log-probabilities of N ragged groups.

    Args:
        prompts: the N prompts.
        completions: for each prompt its G_i completions as token ids, at least one each; lengths may differ.
        form: the forward pass; by default packed where the model supports it.
        entropy, argmax: whether to compute these as well; see :class:`GroupLogprobs`.
    """
    states = form(vlm, prompts, [[c[:-1] for c in group] for group in completions])
    ids, mask = pad_right([c for group in completions for c in group], vlm.tokenizer.pad_token_id, vlm.device)
    valid = mask.bool()
    hidden = states.hidden[states.predict_positions]
    result = token_logprobs(vlm, hidden, ids[valid], temperature, entropy=entropy, argmax=argmax)

    def padded(values: Tensor) -> Tensor:
        return values.new_zeros(mask.shape).masked_scatter(valid, values)

    return GroupLogprobs(
        padded(result.logprobs),
        mask,
        None if result.entropy is None else padded(result.entropy),
        None if result.is_argmax is None else padded(result.is_argmax),
    )


shared_prefix_logprobs = functools.partial(group_logprobs, form=run_packed)
"""Log-probabilities of groups in one packed row: each prompt, and each distinct image, computed once."""
repeated_logprobs = functools.partial(group_logprobs, form=forward_repeated)
"""The same log-probabilities with one row per completion, for tests and comparison."""


def token_logprobs(
    vlm: Vlm, hidden: Tensor, ids: Tensor, temperature: float, *, entropy: bool = False, argmax: bool = False
) -> TokenLogprobs:
    """Log-probabilities of ``ids`` [T] under ``hidden`` [T, D], the states one position before each."""
    head = vlm.model.lm_head

    def compute(states: Tensor) -> TokenLogprobs:
        return chunked_token_logprobs(
            states, head.weight, ids, vlm.banned_token_ids, temperature, entropy=entropy, argmax=argmax
        )

    result: TokenLogprobs = head(hidden, within=compute)
    return result
