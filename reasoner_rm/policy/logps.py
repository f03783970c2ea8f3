"""Per-token log-probabilities of groups: log_softmax(logits / T) with banned tokens at minus infinity."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from reasoner_rm.policy.head import Head
from reasoner_rm.policy.loading import Vlm
from reasoner_rm.policy.packing import Continuations, States, pad_right, run, run_packed, run_repeated
from reasoner_rm.policy.prompts import PromptBatch

Form: TypeAlias = Callable[[Vlm, PromptBatch, Continuations], States]

LOGITS = 2**25
"""How many logits may exist at once (128 MB in fp32). Where a batch has more, the head runs in parts, and again in the
backward pass."""


@dataclass  # not frozen, no slots: ZeRO-3 rewrites the tensors of what a module returns
class GroupLogps:
    """``logps`` and ``mask`` [B, C], B = all completions of all groups in order; ``entropy`` [B, C] on request."""

    logps: Tensor
    mask: Tensor
    entropy: Tensor | None = None


def group_logps(
    vlm: Vlm,
    prompts: PromptBatch,
    completions: Continuations,
    temperature: float = 1.0,
    entropy: bool = False,
    form: Form = run,
) -> GroupLogps:
    """Log-probabilities of N ragged groups.

    Args:
        prompts: the N prompts.
        completions: for each prompt its G_i completions as token ids, at least one each; lengths may differ.
        form: how the groups pass through the model; by default the best that the model knows.
    """
    states = form(vlm, prompts, [[c[:-1] for c in group] for group in completions])
    ids, mask = pad_right([c for group in completions for c in group], vlm.tokenizer.pad_token_id, vlm.device)
    kept = mask.bool()
    logps, spread = token_logps(vlm, states.hidden[states.before], ids[kept], temperature, entropy)

    def padded(values: Tensor) -> Tensor:
        return values.new_zeros(mask.shape).masked_scatter(kept, values)

    return GroupLogps(padded(logps), mask, None if spread is None else padded(spread))


shared_prefix_logps = functools.partial(group_logps, form=run_packed)
"""Log-probabilities of groups in one packed row: each prompt, and each distinct image, computed once."""
repeated_logps = functools.partial(group_logps, form=run_repeated)
"""The same numbers the usual way, for tests and for comparison."""


def processed_logits(head: Head, hidden: Tensor, banned: Sequence[int], temperature: float) -> Tensor:
    """What is sampled from: fp32 logits over T, banned tokens at minus infinity. [..., V]"""
    logits = head(hidden).float()
    if temperature != 1.0:
        logits = logits / temperature
    logits[..., list(banned)] = -torch.inf
    return logits


def token_logps(
    vlm: Vlm, hidden: Tensor, ids: Tensor, temperature: float, entropy: bool
) -> tuple[Tensor, Tensor | None]:
    """Log-probabilities [T] of ``ids`` [T] under ``hidden`` [T, D], the states one position before each; their
    distributions' entropies [T], which bear no gradient."""
    size = max(1, LOGITS // vlm.model.lm_head.out_features)

    def part(head: Head, states: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor | None]:
        logits = processed_logits(head, states, vlm.banned, temperature)
        norm = logits.logsumexp(-1)
        spread = None
        if entropy:
            with torch.no_grad():
                probs = (logits - norm[:, None]).exp_()
                spread = norm - torch.einsum("tv,tv->t", probs, logits.masked_fill(probs == 0, 0.0))
        return logits.gather(-1, chosen[:, None])[:, 0] - norm, spread

    def read(head: Head, states: Tensor) -> tuple[Tensor, Tensor | None]:
        if len(ids) <= size:
            return part(head, states, ids)
        again = torch.is_grad_enabled()
        parts = [
            checkpoint(part, head, s, i, use_reentrant=False) if again else part(head, s, i)
            for s, i in zip(states.split(size), ids.split(size), strict=True)
        ]
        return torch.cat([p for p, _ in parts]), torch.cat([s for _, s in parts]) if entropy else None  # type: ignore[misc]

    return vlm.model.lm_head(hidden, within=read)
