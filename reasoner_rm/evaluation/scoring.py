"""From stored votes and a protocol to everything that a report states about a benchmark."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reasoner_rm.evaluation.baselines import constant_baseline, pairwise_baselines
from reasoner_rm.evaluation.benchmark import Benchmark
from reasoner_rm.evaluation.diagnostics import Diagnostics, diagnose
from reasoner_rm.evaluation.pairwise import pairwise_accuracy
from reasoner_rm.evaluation.predictions import AnsweredItem
from reasoner_rm.evaluation.protocol import Combine, Protocol
from reasoner_rm.evaluation.results import ItemScores, Metric, MetricSet, metric_set
from reasoner_rm.evaluation.verdict_parsers import task_answer


@dataclass(frozen=True, slots=True)
class BenchmarkResult:
    """The result of one protocol.

    majority_curve: the headline metric with the majority of the first K votes, by K.
    baselines: the headline metric that each reaches on the same rows; `blind` is the judge without its images.
    item_scores: how right every item is, by id; None where it does not count.
    """

    protocol: Protocol
    n: int
    metrics: MetricSet
    diagnostics: Diagnostics
    majority_curve: Mapping[int, float | None]
    baselines: Mapping[str, Metric]
    warnings: tuple[str, ...]
    item_scores: Mapping[str, float | None]

    def as_json(self) -> dict[str, Any]:
        name, headline = self.metrics.headline
        return {
            "protocol": self.protocol.as_json(),
            "n": self.n,
            "headline": {"name": name, **headline.as_json()},
            "metrics": {k: m.as_json() for k, m in self.metrics.overall.items()},
            "groups": {f: {k: m.as_json() for k, m in kinds.items()} for f, kinds in self.metrics.groups.items()},
            "diagnostics": dataclasses.asdict(self.diagnostics),
            "majority_curve": {str(k): v for k, v in self.majority_curve.items()},
            "baselines": {k: m.as_json() for k, m in self.baselines.items()},
            "warnings": list(self.warnings),
        }


def score(
    benchmark: Benchmark,
    items: Sequence[AnsweredItem],
    protocol: Protocol,
    *,
    blind: Sequence[AnsweredItem] = (),
) -> BenchmarkResult:
    """Score stored votes.

    Args:
        protocol: its parser may have been replaced, where the judge was asked with its own prompt.
        blind: the same judge's votes on grey images.

    Raises:
        InputError: votes that the protocol needs are not stored.
    """
    scores = _item_scores(items, protocol)
    metrics, diagnostics = _metric_set(scores, protocol, intervals=True), diagnose(items, protocol)
    return BenchmarkResult(
        protocol=protocol,
        n=len(items),
        metrics=metrics,
        diagnostics=diagnostics,
        majority_curve=_majority_curve(items, protocol),
        baselines=_baselines(benchmark, items, protocol, blind),
        warnings=tuple(_warnings(metrics, diagnostics, protocol)),
        item_scores={s.id: value for s, value in zip(scores.samples, scores.scores, strict=True)},
    )


def metrics_of(items: Sequence[AnsweredItem], protocol: Protocol, intervals: bool = True) -> MetricSet:
    """The metrics of stored votes under a protocol, with bootstrap intervals on request."""
    return _metric_set(_item_scores(items, protocol), protocol, intervals)


def headline(items: Sequence[AnsweredItem], protocol: Protocol) -> Metric:
    """The benchmark's own metric, without an interval."""
    return metrics_of(items, protocol, intervals=False).headline[1]


def _item_scores(items: Sequence[AnsweredItem], protocol: Protocol) -> ItemScores:
    return (protocol.metric or pairwise_accuracy)(items, protocol)


def _metric_set(scores: ItemScores, protocol: Protocol, intervals: bool) -> MetricSet:
    seed = protocol.seed if intervals else None
    return metric_set(scores, average=protocol.average, over=protocol.over, seed=seed)


def _baselines(
    benchmark: Benchmark, items: Sequence[AnsweredItem], protocol: Protocol, blind: Sequence[AnsweredItem]
) -> dict[str, Metric]:
    """The headline metric of each baseline. A fixed answer is parsed as the protocol was published."""
    metrics = {
        name: _mean([headline(answered, protocol) for answered in draws])
        for name, draws in pairwise_baselines(items, protocol)
    }
    published = next((p for p in benchmark.protocols if protocol.published == p.name), protocol)
    own = dataclasses.replace(protocol, parser=published.parser)
    for name, answer in benchmark.baselines.items():
        metrics[name] = headline(constant_baseline(items, own, answer), own)
    if blind:
        metrics["blind"] = metrics_of(blind, protocol.with_options(votes=1)).headline[1]
    return metrics


def _mean(draws: Sequence[Metric]) -> Metric:
    values = [metric.value for metric in draws if metric.value is not None]
    return dataclasses.replace(draws[0], value=math.fsum(values) / len(values) if values else None)


def _majority_curve(items: Sequence[AnsweredItem], protocol: Protocol) -> dict[int, float | None]:
    if protocol.votes == 1 or protocol.metric is not None:
        return {}
    combine: Combine = "strict" if protocol.combine == "strict" else "majority"
    first_k = {k: dataclasses.replace(protocol, votes=k, combine=combine) for k in range(1, protocol.votes + 1, 2)}
    return {k: headline(items, p).value for k, p in first_k.items()}


def _warnings(metrics: MetricSet, diagnostics: Diagnostics, protocol: Protocol) -> Iterator[str]:
    """What makes the metrics doubtful, one sentence each."""
    _, headline = metrics.headline
    if diagnostics.votes and diagnostics.unparsed == 1:
        yield f"No vote could be read by the parser {protocol.parser.__name__}: the metrics say nothing of the judge."
    elif headline.value is None:
        yield "No item counts under this protocol: there is no headline metric."
    elif diagnostics.unparsed and diagnostics.unparsed > 0.05:
        yield f"{diagnostics.unparsed:.1%} of the votes could not be read."
    if diagnostics.truncated and diagnostics.truncated > 0.05:
        yield f"{diagnostics.truncated:.1%} of the votes were cut off at their limit of tokens."
    first = diagnostics.first_position
    if first is not None and abs(first - 0.5) > 0.1 and protocol.order in ("both", "random"):
        yield f"{first:.1%} of the verdicts are for the candidate shown first; 50 % would be unbiased."
    if protocol.order == "best_first":
        yield "The better candidate is always shown first: a judge that always prefers the first is always right."
    if protocol.parser is not task_answer and protocol.order == "given":
        yield "Candidates are shown in the file's order, which may itself correlate with which is better."
