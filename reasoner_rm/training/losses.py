"""The GRPO family of losses: pure functions of log-probabilities. B completions of up to C tokens, right-padded.

A loss is a surrogate objective per token (a function of its probability ratio and advantage) and a mean over tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from reasoner_rm.config.grpo import Correction, LossType

SAPO_POSITIVE, SAPO_NEGATIVE = 1.0, 1.05
"""SAPO's temperatures for completions above and below their group's mean (arXiv 2511.20347)."""


@dataclass(frozen=True, slots=True)
class LossInputs:
    """The inputs of a loss.

    ``logprobs`` [B, C] of the policy in fp32, with their graph. ``old_logprobs`` [B, C] of the policy that sampled,
    without one: ``logprobs.detach()`` in the single on-policy pass. ``ref_logprobs`` [B, C] of the reference, for
    the KL term.
    ``advantages`` [B], or [B, C] where tokens have their own. ``mask`` [B, C] is 1 on completion tokens, the stop
    token included. ``weights`` [B] multiply each completion's loss and no denominator; None means ones. ``correction``
    [B, C] or [B, 1] multiplies the policy's part and not the KL (see :func:`importance_sampling_correction`).
    Values at masked positions are never read.
    """

    logprobs: Tensor
    old_logprobs: Tensor
    advantages: Tensor
    mask: Tensor
    ref_logprobs: Tensor | None = None
    weights: Tensor | None = None
    correction: Tensor | None = None


@dataclass(frozen=True, slots=True)
class LossNormalizer:
    """The number of completions and loss tokens of the scope of a mean: a micro-batch, or an update. The losses of the
    parts of a scope then add up to the scope's loss.

    ``rows`` counts completions, fully masked ones too; ``tokens`` counts the tokens of the mask. Where gradients are
    averaged over ranks, both are the mean per rank.
    """

    rows: float
    tokens: float


@dataclass(frozen=True, slots=True)
class LossOutputs:
    """``loss`` is a scalar with its graph. ``metrics`` are detached scalars, means over the tokens of the mask:
    ``ratio``; of the bounds that the loss has, ``clip_low`` and ``clip_high`` (shares of tokens); and ``kl`` where a
    reference was given."""

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
    normalizer: LossNormalizer | None = None,
) -> LossOutputs:
    """Surrogate plus β times the KL to the reference, per token, then a mean.

    ======== ============================== ===================================================================
    loss     surrogate                      mean
    ======== ============================== ===================================================================
    grpo     clipped ratio                  tokens inside each completion, then completions
    dr_grpo  clipped ratio                  the sum over completions times ``max_completion``: no length bias
    bnpo     clipped ratio                  all tokens of the micro-batch (the scope of ``normalizer``)
    dapo     clipped ratio                  all tokens of the update (the scope of ``normalizer``)
    gspo     clipped ratio of the sequence  as grpo; the ratio is the geometric mean of the tokens'
    cispo    truncated ratio · log-prob.    as dapo; ``clip_low`` is not used, no token loses its gradient
    sapo     soft gate of the ratio         as grpo; ``clip_*`` are not used
    ======== ============================== ===================================================================

    A fully masked row (a truncated completion under `mask_truncated_completions`) adds nothing to the numerator. It
    still counts as a row, so it lowers the loss of ``grpo`` and ``dr_grpo``; it holds no tokens, so ``bnpo`` and
    ``dapo`` do not see it. When every row is masked the loss is 0. This is what TRL's `GRPOTrainer` computes.

    Args:
        beta: weight of the KL term; 0 needs no reference.
        clip_low, clip_high: the probability ratio is clipped to [1 - clip_low, 1 + clip_high].
        max_completion: the most tokens of a completion; ``dr_grpo`` divides by it.
        normalizer: completions and tokens of the scope of the mean; None: these inputs are the scope.
    """
    if beta and inputs.ref_logprobs is None:
        raise ValueError("beta is not 0, so ref_logprobs are needed")
    if loss_type == "dr_grpo" and not max_completion:
        raise ValueError("dr_grpo divides by max_completion, which is not given")
    mask = inputs.mask.bool()
    lengths = mask.sum(1, keepdim=True, dtype=inputs.logprobs.dtype)
    normalizer = normalizer or LossNormalizer(rows=len(mask), tokens=int(lengths.sum()))
    kind = _LOSSES[loss_type]

    # Filled before any arithmetic: -inf or NaN times a mask of 0 is NaN.
    logprobs = inputs.logprobs.masked_fill(~mask, 0.0)
    advantages = inputs.advantages if inputs.advantages.dim() == 2 else inputs.advantages[:, None]
    log_ratio = logprobs - inputs.old_logprobs.masked_fill(~mask, 0.0)
    if kind.by_sequence:
        log_ratio = log_ratio.sum(1, keepdim=True) / lengths.clamp(min=1)
    ratio = log_ratio.exp()
    losses = -kind.surrogate(ratio, advantages, logprobs, clip_low, clip_high)
    if inputs.correction is not None:
        losses = losses * inputs.correction
    per_token = {"ratio": ratio}
    if "low" in kind.clips:
        per_token["clip_low"] = (ratio < 1 - clip_low) & (advantages < 0)
    if "high" in kind.clips:
        per_token["clip_high"] = (ratio > 1 + clip_high) & (advantages > 0)
    if inputs.ref_logprobs is not None:
        per_token["kl"] = kl_k3(logprobs, inputs.ref_logprobs.masked_fill(~mask, 0.0))
    if beta:
        losses = losses + beta * per_token["kl"]
    if inputs.weights is not None:
        losses = losses * inputs.weights[:, None]

    divisor = kind.divisor(lengths, normalizer, max_completion or 0)
    loss = (losses.masked_fill(~mask, 0.0) / divisor).sum()
    tokens = lengths.sum().clamp(min=1)
    metrics = {name: (value.detach().to(logprobs.dtype) * mask).sum() / tokens for name, value in per_token.items()}
    return LossOutputs(loss, metrics)


def kl_k3(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    """Schulman's estimate of KL(policy ‖ reference) per token: unbiased under the policy, and never negative."""
    d = ref_logprobs - logprobs
    return d.exp() - d - 1


def importance_sampling_correction(
    logprobs: Tensor,
    sampler_logprobs: Tensor,
    mask: Tensor,
    mode: Correction = "sequence_mask",
    low: float | None = None,
    high: float | None = 3.0,
) -> Tensor:
    """Importance weights for an engine that samples from a slightly different policy than the trainer computes.

    Args:
        logprobs: [B, C] of the trainer's policy at sampling time. ``sampler_logprobs`` [B, C]: what the engine
            reported; NaN where it reported none, whose weight is 1.
        mode: the ratio per token [B, C] or of the whole sequence [B, 1]; outside ``low`` to ``high`` it is either
            truncated to the bound or masked, that is 0.

    >>> old, sampled = torch.tensor([[0.0, 0.0]]), torch.tensor([[-2.0, 0.0]])
    >>> importance_sampling_correction(old, sampled, torch.ones(1, 2), "token_truncate")
    tensor([[3., 1.]])
    """
    gap = torch.where(mask.bool() & ~sampler_logprobs.isnan(), logprobs.detach() - sampler_logprobs, 0.0)
    level, rule = mode.split("_")
    ratio = (gap.sum(1, keepdim=True) if level == "sequence" else gap).exp()
    low, high = 0.0 if low is None else low, torch.inf if high is None else high
    if rule == "truncate":
        return ratio.clamp(low, high)
    return ratio.masked_fill((ratio < low) | (ratio > high), 0.0)


# --- surrogates: objective per token; ratio [B, C] or [B, 1], advantages [B, 1], logprobs [B, C] ------------------


def _clipped(ratio: Tensor, advantages: Tensor, logprobs: Tensor, low: float, high: float) -> Tensor:
    return torch.minimum(ratio * advantages, ratio.clamp(1 - low, 1 + high) * advantages)


def _truncated(ratio: Tensor, advantages: Tensor, logprobs: Tensor, low: float, high: float) -> Tensor:
    return ratio.clamp(max=1 + high).detach() * advantages * logprobs


def _soft_gate(ratio: Tensor, advantages: Tensor, logprobs: Tensor, low: float, high: float) -> Tensor:
    above, below = advantages.new_tensor(SAPO_POSITIVE), advantages.new_tensor(SAPO_NEGATIVE)
    temperature = torch.where(advantages > 0, above, below)
    return torch.sigmoid(temperature * (ratio - 1)) * 4 / temperature * advantages


# --- means: what each token's loss is divided by, from the completions' lengths [B, 1] --------------------------------


def _per_completion(lengths: Tensor, normalizer: LossNormalizer, max_completion: int) -> Tensor | float:
    return normalizer.rows * lengths.clamp(min=1)


def _per_slot(lengths: Tensor, normalizer: LossNormalizer, max_completion: int) -> Tensor | float:
    return normalizer.rows * max_completion


def _per_token(lengths: Tensor, normalizer: LossNormalizer, max_completion: int) -> Tensor | float:
    return normalizer.tokens or 1.0


@dataclass(frozen=True, slots=True)
class _Loss:
    """``clips``: the bounds of the ratio. ``by_micro_batch``: the mean is over the tokens of a micro-batch."""

    surrogate: Callable[[Tensor, Tensor, Tensor, float, float], Tensor]
    divisor: Callable[[Tensor, LossNormalizer, int], Tensor | float]
    by_sequence: bool = False
    clips: frozenset[str] = frozenset({"low", "high"})
    by_micro_batch: bool = False


_LOSSES: Mapping[LossType, _Loss] = {
    "grpo": _Loss(_clipped, _per_completion),
    "dr_grpo": _Loss(_clipped, _per_slot),
    "bnpo": _Loss(_clipped, _per_token, by_micro_batch=True),
    "dapo": _Loss(_clipped, _per_token),
    "gspo": _Loss(_clipped, _per_completion, by_sequence=True),
    "cispo": _Loss(_truncated, _per_token, clips=frozenset({"high"})),
    "sapo": _Loss(_soft_gate, _per_completion, clips=frozenset()),
}


def by_micro_batch(loss_type: LossType) -> bool:
    """Whether the scope of a loss's mean over tokens is the micro-batch; else it is the update."""
    return _LOSSES[loss_type].by_micro_batch
