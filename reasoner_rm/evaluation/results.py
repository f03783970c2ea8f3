"""The score of every item, and the metrics that follow from the scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from reasoner_rm.evaluation.intervals import Array, Resampler, Statistic, bounds, mean
from reasoner_rm.evaluation.subgroups import by_facet, facets
from reasoner_rm.schema import Sample

Average = Literal["micro", "macro", "all"]


@dataclass(frozen=True, slots=True)
class Metric:
    """A value with its 95 % bootstrap interval; None where nothing could be counted. ``n``: the items that count.
    ``share``: whether it is one, 0..1, and no rating."""

    value: float | None
    interval: tuple[float, float] | None = None
    n: int = 0
    share: bool = True

    def as_json(self) -> dict[str, Any]:
        interval = None if self.interval is None else list(self.interval)
        return {"value": self.value, "interval": interval, "n": self.n, "share": self.share}


@dataclass(frozen=True, slots=True)
class ItemScores:
    """Every metric is a function of sums over items.

    columns: [N, D], a row of zeros for an item that does not count.
    statistics: by name, functions of the summed columns; the first is the benchmark's headline.
    scores: how right each item is, 0..1 (a rating may be more); None if it does not count.
    also: metrics that are no function of sums.
    ratings: the statistics that are no shares.
    """

    samples: Sequence[Sample]
    scores: Sequence[float | None]
    columns: Array
    statistics: Mapping[str, Statistic]
    also: Mapping[str, Metric] = field(default_factory=dict)
    ratings: frozenset[str] = frozenset()

    @classmethod
    def of_scores(
        cls,
        samples: Sequence[Sample],
        scores: Sequence[float | None],
        name: str = "accuracy",
        also: Mapping[str, Metric] | None = None,
    ) -> ItemScores:
        """The metric is the mean of the scores that count."""
        columns = np.array([(0.0, 0.0) if s is None else (s, 1.0) for s in scores]).reshape(-1, 2)
        return cls(samples, scores, columns, {name: mean}, also or {})

    @property
    def headline(self) -> str:
        return next(iter(self.statistics)) if self.statistics else next(iter(self.also))

    def group_all(self, over: str) -> ItemScores:
        """One item for each unit, right if all its items are; those that do not count are left out."""
        units: dict[tuple[str, ...], list[int]] = {}
        for i, sample in enumerate(self.samples):
            units.setdefault((kind_of(sample, over),), []).append(i)
        samples, scores = [], list[float | None]()
        for members in units.values():
            counted = [s for i in members if (s := self.scores[i]) is not None]
            samples.append(self.samples[members[0]])
            scores.append(float(min(counted) == 1) if counted else None)
        return ItemScores.of_scores(samples, scores, self.headline)


def kind_of(sample: Sample, over: str) -> str:
    """Which kind of a facet an item is; `group_id` is a facet too."""
    return sample.group_id if over == "group_id" else facets(sample).get(over, "")


@dataclass(frozen=True, slots=True)
class MetricSet:
    """``overall`` by name, the headline first; ``groups`` by facet and kind, of the first statistic."""

    overall: Mapping[str, Metric]
    groups: Mapping[str, Mapping[str, Metric]]

    @property
    def headline(self) -> tuple[str, Metric]:
        return next(iter(self.overall.items()))


def metric_set(scores: ItemScores, *, average: Average, over: str, seed: int | None) -> MetricSet:
    """The metrics that follow from the scores.

    Args:
        average: `micro` counts items alike; `macro` gives each kind of ``over`` the same weight; `all` counts a kind as
            right if all its items are.
        seed: of the bootstrap; None: without intervals.
    """
    if average == "all":
        scores = scores.group_all(over)
    if not scores.statistics:
        return MetricSet(scores.also, {})
    calculator = MetricCalculator(scores, seed)
    headline = next(iter(scores.statistics.values()))
    overall = {
        name: calculator.metric(statistic, share=name not in scores.ratings)
        for name, statistic in scores.statistics.items()
    }
    share = scores.headline not in scores.ratings
    kinds = by_facet(range(len(scores.samples)), scores.samples)
    groups = {
        facet: {kind: calculator.metric(headline, rows, share) for kind, rows in parts.items()}
        for facet, parts in kinds.items()
    }
    if average == "macro" or (average == "micro" and over in kinds):
        macro = {f"macro {scores.headline}": calculator.macro(headline, over, share)}
        overall = macro | overall if average == "macro" else overall | macro
    return MetricSet({**overall, **scores.also}, groups)


class MetricCalculator:
    """Metrics of columns of sums, with bootstrap intervals where a seed is given."""

    def __init__(self, scores: ItemScores, seed: int | None):
        self.scores = scores
        self.counted = np.array([s is not None for s in scores.scores], dtype=bool)
        self.sampler = None if seed is None else Resampler([s.group_id for s in scores.samples], seed)

    def metric(self, statistic: Statistic, rows: Sequence[int] | None = None, share: bool = True) -> Metric:
        """Of these items, or of all."""
        columns = self._only(rows)
        interval = self.sampler.interval(columns, statistic) if self.sampler else None
        n = int(self.counted[list(rows)].sum() if rows is not None else self.counted.sum())
        return Metric(_value(statistic(columns.sum(0))), interval, n, share)

    def macro(self, statistic: Statistic, over: str, share: bool = True) -> Metric:
        """The plain mean over the kinds of a facet that count anything."""
        kinds: dict[str, list[int]] = {}
        for i, sample in enumerate(self.scores.samples):
            kinds.setdefault(kind_of(sample, over), []).append(i)
        values = np.array([statistic(self.scores.columns[rows].sum(0)) for rows in kinds.values()])
        known = ~np.isnan(values)
        value = _value(values[known].mean()) if known.any() else None
        interval = self._macro_interval(statistic, kinds, values, over)
        return Metric(value, interval, int(self.counted.sum()), share)

    def _macro_interval(
        self, statistic: Statistic, kinds: Mapping[str, Sequence[int]], values: Array, over: str
    ) -> tuple[float, float] | None:
        if self.sampler is None or np.isnan(values).all():
            return None
        if over == "group_id":  # a group is drawn whole, so that its own value is what is averaged
            columns = np.stack([np.nan_to_num(values), (~np.isnan(values)).astype(float)], axis=1)
            return Resampler(list(kinds), 0).interval(columns, mean)
        draws = np.array([statistic(self.sampler.sums(self._only(rows))) for rows in kinds.values()])
        known = ~np.isnan(draws)
        with np.errstate(invalid="ignore"):
            return bounds(np.where(known, draws, 0).sum(0) / known.sum(0))

    def _only(self, rows: Sequence[int] | None) -> Array:
        if rows is None:
            return self.scores.columns
        selected = np.zeros((len(self.counted), 1))
        selected[list(rows)] = 1
        return self.scores.columns * selected


def _value(value: Any) -> float | None:
    return None if np.isnan(value) else round(float(value), 4)
