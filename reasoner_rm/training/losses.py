"""The GRPO loss: a pure function of log-probabilities. B completions of up to C tokens, right-padded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor

LossType: TypeAlias = Literal["grpo", "dr_grpo", "bnpo", "dapo"]


@dataclass(frozen=True, slots=True)
class LossInputs:
    """What the loss looks at.

    ``logps`` [B, C] of the policy in fp32, with their graph. ``old_logps`` [B, C] of the policy that sampled, without
    one: ``logps.detach()`` in the single on-policy pass. ``ref_logps`` [B, C] of the reference, for the KL term.
    ``advantages`` [B]. ``mask`` [B, C] is 1 on completion tokens, the stop token included. ``weights`` [B] multiply
    each completion's loss and no denominator; None means ones. What stands at masked positions is never read.
    """

    logps: Tensor
    old_logps: Tensor
    advantages: Tensor
    mask: Tensor
    ref_logps: Tensor | None = None
    weights: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Whole:
    """The size of the update that the inputs are a part of: the losses of its parts then add up to the update's.

    ``rows`` counts completions, fully masked ones too; ``tokens`` counts what the mask keeps. Where gradients are
    averaged over ranks, both are the mean per rank.
    """

    rows: float
    tokens: float


@dataclass(frozen=True, slots=True)
class LossOutputs:
    """``loss`` is a scalar with its graph. ``metrics`` are detached scalars, means over the tokens of the mask:
    ``ratio``, ``clip_low`` and ``clip_high`` (shares of tokens), and ``kl`` where a reference was given."""

    loss: Tensor
    metrics: Mapping[str, Tensor]


def grpo_loss(
    inputs: LossInputs,
    *,
    beta: float = 0.04,
    clip_low: float = 0.2,
    clip_high: float = 0.2,
    loss_type: LossType = "grpo",
    max_completion: int | None = None,
    whole: Whole | None = None,
) -> LossOutputs:
    """Clipped policy gradient plus β times the KL to the reference, per token, then one of four means.

    ======== ========================================================================================
    grpo     tokens averaged inside each completion, then completions
    dr_grpo  the sum over the completions' number times ``max_completion``: no length bias
    bnpo     the mean over the tokens of these inputs
    dapo     the mean over the tokens of ``whole`` (of these inputs without it, where it equals bnpo)
    ======== ========================================================================================

    A fully masked row (a truncated completion under `mask_truncated_completions`) adds nothing to the numerator. It
    still counts as a row, so it lowers the loss of ``grpo`` and ``dr_grpo``; it holds no tokens, so ``bnpo`` and
    ``dapo`` do not see it. When every row is masked the loss is 0. This is what TRL's `GRPOTrainer` computes.

    Args:
        beta: weight of the KL term; 0 needs no reference.
        clip_low, clip_high: the ratio to the old policy pays only within [1 - clip_low, 1 + clip_high].
        max_completion: the longest a completion may be; ``dr_grpo`` divides by it.
        whole: the size of the whole update, when these inputs are one part of it.
    """
    if beta and inputs.ref_logps is None:
        raise ValueError("beta is not 0, so ref_logps are needed")
    if loss_type == "dr_grpo" and not max_completion:
        raise ValueError("dr_grpo divides by max_completion, which is not given")
    mask = inputs.mask.bool()
    lengths = mask.sum(1, keepdim=True, dtype=inputs.logps.dtype)
    whole = whole or Whole(rows=len(mask), tokens=int(lengths.sum()))

    # Filled before any arithmetic: a masked -inf or NaN would outlive a multiplication by zero.
    logps = inputs.logps.masked_fill(~mask, 0.0)
    advantages = inputs.advantages[:, None]
    ratio = (logps - inputs.old_logps.masked_fill(~mask, 0.0)).exp()
    clipped = ratio.clamp(1 - clip_low, 1 + clip_high)
    losses = -torch.minimum(ratio * advantages, clipped * advantages)
    per_token = {
        "ratio": ratio,
        "clip_low": (ratio < 1 - clip_low) & (advantages < 0),
        "clip_high": (ratio > 1 + clip_high) & (advantages > 0),
    }
    if inputs.ref_logps is not None:
        per_token["kl"] = k3(logps, inputs.ref_logps.masked_fill(~mask, 0.0))
    if beta:
        losses = losses + beta * per_token["kl"]
    if inputs.weights is not None:
        losses = losses * inputs.weights[:, None]

    divisor = _DIVISORS[loss_type](lengths, whole, max_completion or 0)
    loss = (losses.masked_fill(~mask, 0.0) / divisor).sum()
    tokens = lengths.sum().clamp(min=1)
    metrics = {name: (value.detach().to(logps.dtype) * mask).sum() / tokens for name, value in per_token.items()}
    return LossOutputs(loss, metrics)


def k3(logps: Tensor, ref_logps: Tensor) -> Tensor:
    """Schulman's estimate of KL(policy ‖ reference) per token: unbiased under the policy, and never negative."""
    d = ref_logps - logps
    return d.exp() - d - 1


_DIVISORS: Mapping[LossType, Callable[[Tensor, Whole, int], Tensor | float]] = {
    "grpo": lambda lengths, whole, _: whole.rows * lengths.clamp(min=1),
    "dr_grpo": lambda _, whole, max_completion: whole.rows * max_completion,
    "bnpo": lambda lengths, whole, _: lengths.sum().clamp(min=1) * (whole.rows / len(lengths)),
    "dapo": lambda _, whole, __: whole.tokens or 1.0,
}
"""What each token's loss is divided by, from the completions' lengths [B, 1], the whole, and ``max_completion``."""
