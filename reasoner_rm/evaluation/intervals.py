"""Intervals by resampling whole groups: rows that stem from one prompt are right or wrong together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float64]

Statistic: TypeAlias = Callable[[Array], Array]
"""A figure as a function of sums over items: [..., D] to [...]; NaN where nothing was counted."""

ROUNDS = 2000
MAX_PICKS = 20_000_000
"""Very many groups are resampled less often, so that rounds times groups stay below this."""
FEWEST = 100
"""But never less often than this."""


class Resampler:
    """Draws groups with replacement, the same draws for every figure: 95 % percentile intervals.

    Args:
        groups: each item's group [N].
    """

    def __init__(self, groups: Sequence[str], seed: int = 0, rounds: int = ROUNDS):
        names = {g: i for i, g in enumerate(dict.fromkeys(groups))}
        self._index = np.array([names[g] for g in groups], dtype=np.int64)
        n = len(names)
        rounds = max(FEWEST, min(rounds, MAX_PICKS // max(n, 1)))
        picks = np.random.default_rng(seed).integers(0, max(n, 1), size=(rounds, n))
        picks += np.arange(rounds)[:, None] * n
        self._times = np.bincount(picks.ravel(), minlength=rounds * n).reshape(rounds, n).astype(np.float32)

    def sums(self, columns: Array) -> Array:
        """The columns [N, D] summed over the items of every draw: [rounds, D]."""
        by_group = np.zeros((self._times.shape[1], columns.shape[1]), dtype=np.float32)
        np.add.at(by_group, self._index, columns)
        return np.asarray(self._times @ by_group, dtype=np.float64)

    def interval(self, columns: Array, statistic: Statistic) -> tuple[float, float] | None:
        """Of a statistic of the columns' sums; None where no draw counts anything."""
        return bounds(statistic(self.sums(columns))) if len(self._index) else None


def bounds(values: Array) -> tuple[float, float] | None:
    """The middle 95 % of values, NaN left out."""
    known = values[~np.isnan(values)]
    if not len(known):
        return None
    low, high = np.quantile(known, [0.025, 0.975])
    return round(float(low), 4), round(float(high), 4)


def mean(sums: Array) -> Array:
    """Of columns (score, 1)."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(sums[..., 0] / sums[..., 1])


def bootstrap(scores: Sequence[float], groups: Sequence[str], seed: int, rounds: int = ROUNDS) -> tuple[float, float]:
    """95 % interval of the mean score, resampling whole groups with replacement."""
    columns = np.stack([np.asarray(scores, dtype=np.float64), np.ones(len(scores))], axis=1)
    found = Resampler(groups, seed, rounds).interval(columns, mean)
    if found is None:
        raise ValueError("no scores")
    return found
