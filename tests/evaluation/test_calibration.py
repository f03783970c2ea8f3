"""Calibration against scikit-learn and a plain loop, and that a judge's confidence is the mean of both orders."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss

from reasoner_rm.evaluation.benchmarks.samples import BOTH_ORDERS
from reasoner_rm.evaluation.calibration import calibration
from reasoner_rm.evaluation.listener_metrics import listener_metrics
from reasoner_rm.evaluation.predictions import AnsweredItem, Prediction
from reasoner_rm.schema import Sample

PAIR = Sample("a", "image_preference", "a star", images=("x", "y"), gold={"p_first": 1.0})


def plain_ece(probs: list[list[float]], truth: list[int]) -> float:
    """Guo et al., equation 3, bin by bin."""
    total = 0.0
    for m in range(10):
        held = [(p, t) for p, t in zip(probs, truth, strict=True) if m / 10 < max(p) <= (m + 1) / 10]
        if held:
            accuracy = sum(p.index(max(p)) == t for p, t in held) / len(held)
            total += len(held) / len(probs) * abs(accuracy - sum(max(p) for p, _ in held) / len(held))
    return total


@pytest.mark.parametrize("options", [2, 3, 6])
def test_ece_and_brier_of_random_answers(options: int) -> None:
    rng = np.random.default_rng(options)
    probs = rng.dirichlet(np.full(options, 0.7), size=400)
    truth = [int(rng.choice(options, p=(row + 0.3) / (row + 0.3).sum())) for row in probs]
    made = calibration(probs.tolist(), truth)
    assert made is not None and made.n == 400 == sum(b.n for b in made.bins)
    assert made.ece == pytest.approx(plain_ece(probs.tolist(), truth), abs=1e-4)
    brier = brier_score_loss(np.eye(options)[truth], probs, scale_by_half=True)
    assert made.brier == pytest.approx(brier, abs=1e-4)
    right, sure = calibration_curve(probs.argmax(1) == truth, probs.max(1), n_bins=10)
    assert [b.accuracy for b in made.bins] == pytest.approx(right, abs=1e-4)
    assert [b.confidence for b in made.bins] == pytest.approx(sure, abs=1e-4)


def test_the_ends_and_nothing_at_all() -> None:
    assert calibration([], []) is None
    sure = calibration([[1.0, 0.0], [0.0, 1.0]], [0, 0])
    assert sure is not None and (sure.ece, sure.brier, len(sure.bins)) == (0.5, 0.5, 1)


TEXT = "<think>t</think><answer>Image 1 is better</answer>"


def item(sample: Sample = PAIR, **beliefs: tuple[float | None, float | None]) -> AnsweredItem:
    """Votes for the image shown first, in both orders; each field's belief in the image shown first, by order."""
    votes = [
        Prediction(order, 0, TEXT, **{name: p[k] if p[k] is None else (p[k], 1 - p[k]) for name, p in beliefs.items()})
        for k, order in enumerate(("given", "swapped"))
    ]  # type: ignore[arg-type]
    return AnsweredItem(sample, tuple(votes))


def test_the_confidence_is_the_mean_of_both_orders() -> None:
    """0.9 for the first image, then 0.7 for it where it is shown second: 0.8; a position bias cancels."""
    unbiased, biased = item(confidence=(0.9, 0.3)), item(PAIR, confidence=(0.9, 0.9))
    found = listener_metrics([unbiased, biased], BOTH_ORDERS).calibration
    assert set(found) == {"judge"}
    assert [(b.confidence, b.n) for b in found["judge"].bins] == [(0.5, 1), (0.8, 1)]
    assert found["judge"].brier == pytest.approx((0.2**2 + 0.5**2) / 2, abs=1e-4)


def test_a_tie_has_no_right_option_and_one_belief_of_two_counts_alone() -> None:
    tie = Sample("b", "image_preference", "c", images=("x", "y"), gold={"p_first": 0.5})
    items = [item(tie, listener=(0.9, 0.9)), item(listener=(None, 0.2))]
    (only,) = listener_metrics(items, BOTH_ORDERS).calibration["listener"].bins
    assert (only.confidence, only.accuracy, only.n) == (0.8, 1.0, 1)
