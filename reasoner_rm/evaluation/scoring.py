"""Everything that a report says about a benchmark, out of predictions and a protocol alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reasoner_rm.evaluation.baselines import constant_baseline, pairwise_baselines
from reasoner_rm.evaluation.benchmark import Benchmark
from reasoner_rm.evaluation.diagnostics import Diagnostics, habits
from reasoner_rm.evaluation.pairwise import pairs
from reasoner_rm.evaluation.protocol import Protocol
from reasoner_rm.evaluation.protocol_options import Combine
from reasoner_rm.evaluation.results import ItemScores, Metric, MetricSet, metric_set
from reasoner_rm.evaluation.verdict_parsers import by_task
from reasoner_rm.evaluation.votes import AnsweredItem


@dataclass(frozen=True, slots=True)
class BenchmarkResult:
    """The result of one protocol.

    curve: the headline figure with the majority of the first K votes, by K.
    baselines: the headline figure that each reaches on the same rows; `blind` is the judge without its images.
    each: how right every item is, by id; None where it does not count.
    """

    protocol: Protocol
    n: int
    figures: MetricSet
    habits: Diagnostics
    majority_curve: Mapping[int, float | None]
    baselines: Mapping[str, Metric]
    warnings: tuple[str, ...]
    each: Mapping[str, float | None]

    def as_json(self) -> dict[str, Any]:
        name, headline = self.figures.headline
        return {
            "protocol": self.protocol.as_json(),
            "n": self.n,
            "headline": {"name": name, **headline.as_json()},
            "figures": {k: f.as_json() for k, f in self.figures.overall.items()},
            "groups": {f: {k: v.as_json() for k, v in kinds.items()} for f, kinds in self.figures.groups.items()},
            "habits": dataclasses.asdict(self.habits),
            "majority_of": {str(k): v for k, v in self.majority_curve.items()},
            "baselines": {k: f.as_json() for k, f in self.baselines.items()},
            "remarks": list(self.warnings),
        }


def score(
    benchmark: Benchmark,
    items: Sequence[AnsweredItem],
    protocol: Protocol,
    *,
    blind: Sequence[AnsweredItem] = (),
    intervals: bool = True,
) -> BenchmarkResult:
    """Score stored votes.

    Args:
        protocol: its reader may have been replaced, where the judge was asked in its own way.
        blind: the same judge's votes on grey images.

    Raises:
        InputError: votes that the protocol needs were never cast.
    """
    found = (protocol.measure or pairs)(items, protocol)
    seen = _metric_set(found, protocol, intervals)
    how = habits(items, protocol)
    against = {name: headline(some, protocol) for name, some in pairwise_baselines(items, protocol).items()}
    for name, say in benchmark.baselines.items():
        own = benchmark_reader(benchmark, protocol)
        against[name] = headline(constant_baseline(items, own, say), own)
    if blind:
        once = protocol.changed(votes=1)
        against["blind"] = metrics_of(blind, once, intervals).headline[1]
    return BenchmarkResult(
        protocol=protocol,
        n=len(items),
        figures=seen,
        habits=how,
        majority_curve=_curve(items, protocol),
        baselines=against,
        warnings=tuple(_remarks(seen, how, protocol)),
        each={s.id: value for s, value in zip(found.samples, found.scores, strict=True)},
    )


def benchmark_reader(benchmark: Benchmark, protocol: Protocol) -> Protocol:
    """The protocol with the reader that it was published with."""
    plain = next((p for p in benchmark.protocols if protocol.published == p.name), protocol)
    return dataclasses.replace(protocol, reader=plain.reader)


def metrics_of(items: Sequence[AnsweredItem], protocol: Protocol, intervals: bool = True) -> MetricSet:
    """The metrics of stored votes under a protocol, with bootstrap intervals on request."""
    return _metric_set((protocol.measure or pairs)(items, protocol), protocol, intervals)


def headline(items: Sequence[AnsweredItem], protocol: Protocol) -> Metric:
    """The benchmark's own metric, without an interval."""
    return metrics_of(items, protocol, intervals=False).headline[1]


def _metric_set(found: ItemScores, protocol: Protocol, intervals: bool) -> MetricSet:
    seed = protocol.seed if intervals else None
    return metric_set(found, average=protocol.average, over=protocol.over, seed=seed)


def _curve(items: Sequence[AnsweredItem], protocol: Protocol) -> dict[int, float | None]:
    if protocol.votes == 1 or protocol.measure is not None:
        return {}
    combine: Combine = "strict" if protocol.combine == "strict" else "majority"
    few = {k: dataclasses.replace(protocol, votes=k, combine=combine) for k in range(1, protocol.votes + 1, 2)}
    return {k: headline(items, p).value for k, p in few.items()}


def _remarks(found: MetricSet, how: Diagnostics, protocol: Protocol) -> Iterator[str]:
    """What a careful reader would want to be told."""
    _, headline = found.headline
    if how.votes and how.unparsed == 1:
        yield f"No vote could be read as {protocol.reader.__name__} reads them, so that no figure says anything."
    elif headline.value is None:
        yield "No item counts under this protocol, so that there is no figure."
    elif how.unparsed and how.unparsed > 0.05:
        yield f"{how.unparsed:.1%} of the votes could not be read."
    if how.truncated and how.truncated > 0.05:
        yield f"{how.truncated:.1%} of the votes were cut off at their limit of tokens."
    if how.first_position is not None and abs(how.first_position - 0.5) > 0.1 and protocol.order in ("both", "random"):
        yield f"{how.first_position:.1%} of the verdicts are for what is shown first; 50 % would be unbiased."
    if protocol.order == "best_first":
        yield "The better candidate is always shown first: a judge that says so every time is right every time."
    if protocol.reader is not by_task and protocol.order == "given":
        yield "Candidates are shown in the file's order, which may itself say which is better."
