"""The metrics of an evaluation as `summary.json` holds them: one flat record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from reasoner_rm.evaluation.calibration import Calibration
from reasoner_rm.evaluation.listener_metrics import ListenerMetrics
from reasoner_rm.evaluation.predictions import AnsweredItem
from reasoner_rm.evaluation.results import Metric
from reasoner_rm.evaluation.scoring import BenchmarkResult
from reasoner_rm.evaluation.subgroups import by_facet

NOTHING = Metric(None)


@dataclass(frozen=True, slots=True)
class Accuracy:
    """The accuracy of the samples of one kind; fields as in `RunMetrics`."""

    accuracy: float | None
    accuracy_interval: tuple[float, float] | None
    n: int
    ties: int

    @classmethod
    def of(cls, metric: Metric, n: int) -> Accuracy:
        return cls(metric.value, metric.interval, n, n - metric.n)


@dataclass(frozen=True, slots=True)
class RunMetrics:
    """Shares in 0..1; None where nothing could be counted.

    accuracy: over samples, the mean over orders of the task's own score (detection's is F1 at IoU 0.5), against the
        truth where a sample states it; unreadable is wrong, ties in the gold are left out (``ties``).
    accuracy_interval: 95 % bootstrap interval, resampling ``group_id``.
    consistency: both orders name the same candidate, unreadable is inconsistent.
    first_position: readable verdicts for the candidate shown first; 0.5 is unbiased when both orders are asked. It
        and consistency are None where nothing is compared.
    well_formed: completions in the task's format.
    contradiction, accuracy_agree, accuracy_disagree, calibration: as in `ListenerMetrics`.
    mean_ap, ap50: COCO's average precision over the whole split, mean over IoU 0.50:0.05:0.95 and at 0.5; of detection.
    by: accuracy by what the samples state of themselves: facet (corruption, skill, difficulty), kind.
    """

    accuracy: float | None
    accuracy_interval: tuple[float, float] | None
    consistency: float | None
    first_position: float | None
    well_formed: float | None
    contradiction: float | None
    accuracy_agree: float | None
    accuracy_disagree: float | None
    n: int
    ties: int
    mean_ap: float | None = None
    ap50: float | None = None
    by: Mapping[str, Mapping[str, Accuracy]] = field(default_factory=dict)
    calibration: Mapping[str, Calibration] = field(default_factory=dict)

    @classmethod
    def of(cls, result: BenchmarkResult, items: Sequence[AnsweredItem], listener: ListenerMetrics) -> RunMetrics:
        """The record of a result and of the listener's metrics on the same items."""
        overall = Accuracy.of(result.metrics.overall["accuracy"], result.n)
        kinds = by_facet(items, [item.sample for item in items])
        return cls(
            accuracy=overall.accuracy,
            accuracy_interval=overall.accuracy_interval,
            consistency=result.diagnostics.consistency,
            first_position=result.diagnostics.first_position,
            well_formed=result.diagnostics.well_formed,
            contradiction=listener.contradiction,
            accuracy_agree=listener.accuracy_agree,
            accuracy_disagree=listener.accuracy_disagree,
            n=overall.n,
            ties=overall.ties,
            mean_ap=result.metrics.overall.get("AP", NOTHING).value,
            ap50=result.metrics.overall.get("AP50", NOTHING).value,
            by={
                facet: {kind: Accuracy.of(metric, len(kinds[facet][kind])) for kind, metric in metrics.items()}
                for facet, metrics in result.metrics.groups.items()
            },
            calibration=listener.calibration,
        )

    def as_json(self) -> dict[str, Any]:
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}
