"""`summary.json` as plain records: the metrics of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from reasoner_rm.report.lenient_json import Row, mapping, number


@dataclass(frozen=True, slots=True)
class Reliability:
    """The calibration of one source of probabilities; ``bins`` are (confidence, accuracy, n)."""

    ece: float | None = None
    brier: float | None = None
    bins: tuple[tuple[float, float, float], ...] = ()

    @classmethod
    def from_row(cls, row: Row) -> Reliability:
        bins = [tuple(number(b.get(key)) for key in ("confidence", "accuracy", "n")) for b in row.get("bins") or ()]
        return cls(number(row.get("ece")), number(row.get("brier")), tuple(b for b in bins if None not in b))  # type: ignore[misc]


@dataclass(frozen=True, slots=True)
class SplitMetrics:
    """The metrics of one stage on one split: shares in 0..1, None where there is no value.

    ``by`` has the metrics of each subgroup, by facet and name; ``calibration`` those of `judge` and `listener`.
    """

    accuracy: float | None = None
    accuracy_interval: tuple[float, float] | None = None
    consistency: float | None = None
    first_position: float | None = None
    well_formed: float | None = None
    contradiction: float | None = None
    accuracy_agree: float | None = None
    accuracy_disagree: float | None = None
    mean_ap: float | None = None
    ap50: float | None = None
    n: float | None = None
    ties: float | None = None
    by: Mapping[str, Mapping[str, SplitMetrics]] = field(default_factory=dict)
    calibration: Mapping[str, Reliability] = field(default_factory=dict)

    @classmethod
    def from_row(cls, row: Row) -> SplitMetrics:
        low, high = (number(v) for v in row.get("accuracy_interval") or (None, None))
        shares = {key: number(row.get(key)) for key in _SHARES}
        return cls(
            accuracy_interval=None if low is None or high is None else (low, high),
            by={
                facet: {name: cls.from_row(metrics) for name, metrics in mapping(row["by"], facet).items()}
                for facet in mapping(row, "by")
            },
            calibration={
                source: Reliability.from_row(values) for source, values in mapping(row, "calibration").items()
            },
            **shares,
        )


_SHARES = [key for key in SplitMetrics.__slots__ if key not in ("accuracy_interval", "by", "calibration")]


@dataclass(frozen=True, slots=True)
class Summary:
    """`summary.json`: ``stages`` maps stage and split to metrics, in the order in which the stages ran."""

    task: str = ""
    base: str = ""
    listener: str = ""
    seed: float | None = None
    seconds: float | None = None
    peak_rss_mb: float | None = None
    chance: float | None = None
    blind: SplitMetrics = field(default_factory=SplitMetrics)
    data: Mapping[str, float] = field(default_factory=dict)
    stage_seconds: Mapping[str, float] = field(default_factory=dict)
    stages: Mapping[str, Mapping[str, SplitMetrics]] = field(default_factory=dict)

    @classmethod
    def from_row(cls, row: Row) -> Summary:
        """A parsed `summary.json`.

        Raises:
            AttributeError, TypeError, ValueError: it has another shape.
        """
        return cls(
            task=str(row.get("task") or ""),
            base=str(row.get("base") or ""),
            listener=str(row.get("listener") or ""),
            seed=number(row.get("seed")),
            seconds=number(row.get("seconds")),
            peak_rss_mb=number(row.get("peak_rss_mb")),
            chance=number(row.get("chance")),
            blind=SplitMetrics.from_row(mapping(row, "blind")),
            data=_numbers(mapping(row, "data")),
            stage_seconds=_numbers(mapping(row, "stage_seconds")),
            stages={
                stage: {split: SplitMetrics.from_row(metrics) for split, metrics in (splits or {}).items() if metrics}
                for stage, splits in mapping(row, "stages").items()
            },
        )


def _numbers(row: Row) -> dict[str, float]:
    return {key: value for key, raw in row.items() if (value := number(raw)) is not None}
