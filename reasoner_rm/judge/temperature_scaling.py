"""One temperature for a judge's verdict tokens, so that its probabilities are frequencies (Guo et al., 1706.04599)."""

from __future__ import annotations

import math
from collections.abc import Sequence

from reasoner_rm.judge.judge import Judge
from reasoner_rm.sampling.tally import tempered
from reasoner_rm.schema import Sample
from reasoner_rm.tasks import get_task

COLDEST, WARMEST = 0.05, 50.0


def verdict_probabilities(judge: Judge, samples: Sequence[Sample]) -> list[list[float]]:
    """For each sample and order the probability of its first candidate, from the verdict token, untempered. Empty where
    no ballot has any."""
    ballots = judge.ballots(samples)
    shown = [ballot for row in ballots for ballot in row]
    if not shown:
        return []
    template = judge.template(samples[0].task)
    heard = iter(judge.engine.beliefs(template, [b.sample for b in shown], [[b.completion.text] for b in shown]))
    found = []
    for row in ballots:
        beliefs = [(ballot, next(heard)[0]) for ballot in row]
        found.append([b.probs[0] if ballot.order == "given" else b.probs[1] for ballot, b in beliefs if b is not None])
    return found


def p_first(probabilities: Sequence[float], temperature: float) -> float:
    """The mean over orders of tempered probabilities."""
    return math.fsum(tempered(p, temperature) for p in probabilities) / len(probabilities)


def fit_temperature(rows: Sequence[Sequence[float]], gold: Sequence[float]) -> float:
    """The temperature that makes ``gold`` most likely under :func:`p_first`.

    Args:
        rows: the probabilities of each of N samples' first candidate, by order.
        gold: how often raters preferred it, 0..1.

    Raises:
        ValueError: no rows.
    """
    from scipy.optimize import minimize_scalar

    if not rows:
        raise ValueError("nothing to fit a temperature to")

    def surprise(log_temperature: float) -> float:
        total = 0.0
        for row, y in zip(rows, gold, strict=True):
            p = min(max(p_first(row, math.exp(log_temperature)), 1e-9), 1 - 1e-9)
            total -= y * math.log(p) + (1 - y) * math.log(1 - p)
        return total / len(rows)

    found = minimize_scalar(surprise, bounds=(math.log(COLDEST), math.log(WARMEST)), method="bounded")
    return float(math.exp(found.x))


def gold_of(sample: Sample) -> float | None:
    """How often raters preferred the first candidate; None where nobody was asked."""
    known = get_task(sample.task).gold_probs(sample)
    return None if known is None else float(known[0])
