"""Temperature scaling of a judge's verdict token, to calibrate its probabilities (Guo et al., 1706.04599)."""

from __future__ import annotations

import math
from collections.abc import Sequence

from reasoner_rm.judge.judge import Judge
from reasoner_rm.judge.voting import vote_beliefs
from reasoner_rm.sampling.tally import scale_log_odds
from reasoner_rm.schema import Sample
from reasoner_rm.tasks import get_task

MIN_TEMPERATURE, MAX_TEMPERATURE = 0.05, 50.0


def verdict_probabilities(judge: Judge, samples: Sequence[Sample]) -> list[list[float]]:
    """The verdict token's probability of each sample's first candidate, once per order, at temperature 1. Votes whose
    options hold too little probability are left out."""
    rows = judge.collect_votes(samples)
    return [
        [
            belief.probs[0] if vote.order == "given" else belief.probs[1]
            for vote, belief in zip(votes, beliefs, strict=True)
            if belief is not None
        ]
        for votes, beliefs in zip(rows, vote_beliefs(judge, rows), strict=True)
    ]


def p_first(probabilities: Sequence[float], temperature: float) -> float:
    """The mean over orders of the probabilities at a temperature."""
    return math.fsum(scale_log_odds(p, temperature) for p in probabilities) / len(probabilities)


def fit_temperature(rows: Sequence[Sequence[float]], gold: Sequence[float]) -> float:
    """The temperature that minimises the cross-entropy of ``gold`` under :func:`p_first`.

    Args:
        rows: the probabilities of each of N samples' first candidate, by order.
        gold: the share of raters that preferred it, 0..1.

    Raises:
        ValueError: no rows.
    """
    from scipy.optimize import minimize_scalar

    if not rows:
        raise ValueError("nothing to fit a temperature to")

    def cross_entropy(log_temperature: float) -> float:
        total = 0.0
        for row, y in zip(rows, gold, strict=True):
            p = min(max(p_first(row, math.exp(log_temperature)), 1e-9), 1 - 1e-9)
            total -= y * math.log(p) + (1 - y) * math.log(1 - p)
        return total / len(rows)

    minimum = minimize_scalar(
        cross_entropy, bounds=(math.log(MIN_TEMPERATURE), math.log(MAX_TEMPERATURE)), method="bounded"
    )
    return float(math.exp(minimum.x))


def gold_of(sample: Sample) -> float | None:
    """The share of raters that preferred the first candidate; None without gold."""
    probs = get_task(sample.task).gold_probs(sample)
    return None if probs is None else float(probs[0])
