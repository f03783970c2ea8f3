"""What a measure finds out about every item, and the figures that follow from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from reasoner_rm.evaluation.facets import by_facet, facets
from reasoner_rm.evaluation.intervals import Array, Resampler, Statistic, bounds, mean
from reasoner_rm.evaluation.protocol import Protocol
from reasoner_rm.schema import Sample


@dataclass(frozen=True, slots=True)
class Figure:
    """A value with its 95 % bootstrap interval; None where nothing could be counted. ``n``: the items that count."""

    value: float | None
    interval: tuple[float, float] | None = None
    n: int = 0

    def as_json(self) -> dict[str, Any]:
        return {"value": self.value, "interval": None if self.interval is None else list(self.interval), "n": self.n}


@dataclass(frozen=True, slots=True)
class Measured:
    """Every figure is a function of sums over items.

    columns: [N, D], a row of zeros for an item that does not count.
    statistics: by name, functions of the summed columns; the first is the benchmark's own figure.
    scores: how right each item is, 0..1 (a rating may be more); None if it does not count.
    also: figures that are no function of sums.
    """

    samples: Sequence[Sample]
    scores: Sequence[float | None]
    columns: Array
    statistics: Mapping[str, Statistic]
    also: Mapping[str, Figure] = field(default_factory=dict)

    @classmethod
    def of_scores(
        cls, samples: Sequence[Sample], scores: Sequence[float | None], name: str = "accuracy", **also: Figure
    ) -> Measured:
        """The mean of what counts."""
        columns = np.array([(0.0, 0.0) if s is None else (s, 1.0) for s in scores]).reshape(-1, 2)
        return cls(samples, scores, columns, {name: mean}, also)

    @property
    def headline(self) -> str:
        return next(iter(self.statistics)) if self.statistics else next(iter(self.also))

    def united(self, over: str) -> Measured:
        """One item for each unit, right if all its items are; those that do not count are left aside."""
        units: dict[tuple[str, ...], list[int]] = {}
        for i, sample in enumerate(self.samples):
            units.setdefault((kind_of(sample, over),), []).append(i)
        samples, scores = [], list[float | None]()
        for members in units.values():
            known = [s for i in members if (s := self.scores[i]) is not None]
            samples.append(self.samples[members[0]])
            scores.append(float(min(known) == 1) if known else None)
        return Measured.of_scores(samples, scores, self.headline)


def kind_of(sample: Sample, over: str) -> str:
    """Which kind of a facet an item is; `group_id` is a facet too."""
    return sample.group_id if over == "group_id" else facets(sample).get(over, "")


@dataclass(frozen=True, slots=True)
class Figures:
    """``overall`` by name, the headline first; ``groups`` by facet and kind, of the first statistic."""

    overall: Mapping[str, Figure]
    groups: Mapping[str, Mapping[str, Figure]]

    @property
    def headline(self) -> tuple[str, Figure]:
        return next(iter(self.overall.items()))


def figures(found: Measured, protocol: Protocol, intervals: bool = True) -> Figures:
    """The figures of a measure under a protocol's average."""
    if protocol.average == "all":
        found = found.united(protocol.over)
    sampler = Resampler([s.group_id for s in found.samples], protocol.seed) if intervals else None
    counted = np.array([s is not None for s in found.scores], dtype=bool)

    def figure(statistic: Statistic, held: Array | None = None) -> Figure:
        columns = found.columns if held is None else found.columns * held[:, None]
        n = int(counted.sum() if held is None else (counted & (held > 0)).sum())
        return Figure(_value(statistic(columns.sum(0))), sampler and sampler.interval(columns, statistic), n)

    overall = {name: figure(statistic) for name, statistic in found.statistics.items()}
    kinds = by_facet(range(len(found.samples)), found.samples)
    masks = {
        facet: {kind: np.isin(np.arange(len(counted)), rows).astype(float) for kind, rows in parts.items()}
        for facet, parts in kinds.items()
    }
    groups: dict[str, dict[str, Figure]] = {}
    if found.statistics:
        own = next(iter(found.statistics.values()))
        groups = {facet: {kind: figure(own, held) for kind, held in held_by.items()} for facet, held_by in masks.items()}
        over = protocol.over if protocol.average == "macro" else "group"
        if over in masks or (over == "group_id" and protocol.average == "macro"):
            overall |= {f"macro {found.headline}": _macro(found, over, own, sampler)}
    overall |= found.also
    if protocol.average == "macro" and (name := f"macro {found.headline}") in overall:
        overall = {name: overall.pop(name), **overall}
    return Figures(overall, groups)


def _macro(found: Measured, over: str, statistic: Statistic, sampler: Resampler | None) -> Figure:
    """The plain mean over the kinds of a facet that count anything."""
    kinds: dict[str, list[int]] = {}
    for i, sample in enumerate(found.samples):
        kinds.setdefault(kind_of(sample, over), []).append(i)
    values = np.array([statistic(found.columns[rows].sum(0)) for rows in kinds.values()])
    n = sum(s is not None for s in found.scores)
    value = _value(np.nanmean(values)) if not np.isnan(values).all() else None
    if sampler is None or value is None:
        return Figure(value, None, n)
    if over == "group_id":  # a group is drawn whole, so that its own value is what is averaged
        known = [(v, 1.0) if not np.isnan(v) else (0.0, 0.0) for v in values]
        names = [found.samples[rows[0]].group_id for rows in kinds.values()]
        return Figure(value, Resampler(names, 0).interval(np.array(known), mean), n)
    draws = []
    for rows in kinds.values():
        held = np.zeros((len(found.samples), 1))
        held[rows] = 1
        draws.append(statistic(sampler.sums(found.columns * held)))
    return Figure(value, bounds(_nanmean(np.array(draws))), n)


def _nanmean(draws: Array) -> Array:
    known = ~np.isnan(draws)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(known, draws, 0).sum(0) / known.sum(0))


def _value(value: Any) -> float | None:
    return None if np.isnan(value) else round(float(value), 4)


Marker = Callable[[Any, Sample], float | None]
"""How right a reading is; None if the gold cannot say."""
