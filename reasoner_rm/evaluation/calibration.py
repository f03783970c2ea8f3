"""Whether probabilities mean what they say: of the answers given with 80 % confidence, 80 % should be right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

BINS = 10


@dataclass(frozen=True, slots=True)
class Bin:
    """``n`` answers whose confidence is alike: their mean confidence, and the share of them that is right."""

    confidence: float
    accuracy: float
    n: int


@dataclass(frozen=True, slots=True)
class Calibration:
    """How far probabilities are from frequencies, over ``n`` samples.

    ece: expected calibration error (Guo et al., arXiv 1706.04599), 0..1. The answer is the most probable option, its
        confidence that option's probability; ECE is Σ n_bin / n · |accuracy − mean confidence| over ten bins of equal
        width, (0, 0.1] to (0.9, 1]. Between two options no confidence is below 0.5, so five bins stay empty.
    brier: half the squared distance between the probabilities and the truth, 0..1, mean over samples; with two
        options that is (p_first − y)².
    bins: those that hold anything, from the least confident.
    """

    ece: float
    brier: float
    n: int
    bins: tuple[Bin, ...]


def calibration(probs: Sequence[Sequence[float]], truth: Sequence[int]) -> Calibration | None:
    """The calibration of N answers; None when there are none.

    Args:
        probs: each answer's probabilities over its options, which sum to 1; the number of options may differ.
        truth: the index of each one's right option.
    """
    if not probs:
        return None
    confidence = np.array([max(p) for p in probs])
    right = np.array([float(np.argmax(p) == t) for p, t in zip(probs, truth, strict=True)])
    brier = [sum((p - (i == t)) ** 2 for i, p in enumerate(row)) / 2 for row, t in zip(probs, truth, strict=True)]
    place = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
    bins = tuple(
        Bin(round(float(confidence[held].mean()), 4), round(float(right[held].mean()), 4), int(held.sum()))
        for held in (place == b for b in range(BINS))
        if held.any()
    )
    gaps = np.bincount(place, weights=right - confidence, minlength=BINS)
    ece = float(np.abs(gaps).sum()) / len(probs)
    return Calibration(round(ece, 4), round(float(np.mean(brier)), 4), len(probs), bins)
