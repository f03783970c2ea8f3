"""The figures of an evaluation, with bootstrap intervals over groups."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from reasoner_rm.evaluation.calibration import Calibration, calibration
from reasoner_rm.evaluation.detection_metrics import mean_and_ap50
from reasoner_rm.evaluation.ground_truth import with_ground_truth
from reasoner_rm.evaluation.intervals import bootstrap
from reasoner_rm.evaluation.scored_vote import ScoredVote, same_candidate
from reasoner_rm.evaluation.subgroups import by_facet
from reasoner_rm.schema import PAIRWISE_TASKS, Belief
from reasoner_rm.tasks import get_task


@dataclass(frozen=True, slots=True)
class Accuracy:
    """How right the samples of one kind are answered; fields as in `Figures`."""

    accuracy: float | None
    accuracy_interval: tuple[float, float] | None
    n: int
    ties: int


@dataclass(frozen=True, slots=True)
class RunMetrics:
    """Shares in 0..1; None where nothing could be counted.

    accuracy: over samples, the mean over orders of the task's own correctness (detection's is F1 at IoU 0.5), against
        the truth where a sample states it; unreadable is wrong, ties in the gold are left out (``ties``).
    accuracy_interval: 95 % bootstrap interval, resampling ``group_id``.
    consistency: both orders name the same candidate, unreadable is inconsistent.
    first_position: readable verdicts for the candidate shown first; 0.5 is unbiased when both orders are asked. It
        and consistency are None where nothing is compared.
    contradiction: readable verdicts that differ from what the listener believes after the same reasoning.
    accuracy_agree, accuracy_disagree: accuracy where the listener agrees with the verdict, and where it does not.
    mean_ap, ap50: COCO's average precision over the whole split, mean over IoU 0.50:0.05:0.95 and at 0.5; of detection.
    by: accuracy by what the samples say of themselves: facet (corruption, skill, difficulty), kind.
    calibration: of ``judge`` and ``listener``, where either was asked: each sample's probabilities are the mean over
        its ballots, in the caller's order.
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

    def as_json(self) -> dict[str, Any]:
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}


def figures(rows: Sequence[Sequence[ScoredVote]], seed: int = 0) -> RunMetrics:
    """The figures of an evaluation; ``rows`` holds each sample's ballots."""
    flat = [j for row in rows for j in row]
    paired = [row for row in rows if same_candidate(row) is not None]
    choices = [j.ballot.choice for row in paired or rows for j in row if j.ballot.sample.task in PAIRWISE_TASKS]
    heard = [j for j in flat if j.agrees is not None]
    whole = accuracy(rows, seed)
    mean_ap, ap50 = mean_and_ap50(rows)
    kinds = by_facet(rows, [row[0].ballot.sample for row in rows])
    sure = {
        "judge": _calibration(rows, [[j.confidence for j in row] for row in rows]),
        "listener": _calibration(rows, [[j.belief for j in row] for row in rows]),
    }
    return RunMetrics(
        accuracy=whole.accuracy,
        accuracy_interval=whole.accuracy_interval,
        consistency=_mean([same_candidate(row) for row in paired]),
        first_position=_mean([c == 0 for c in choices if c is not None]),
        well_formed=_mean([j.ballot.parsed.well_formed for j in flat]),
        contradiction=_mean([not j.agrees for j in heard]),
        accuracy_agree=_mean([j.correct for j in heard if j.agrees]),
        accuracy_disagree=_mean([j.correct for j in heard if not j.agrees]),
        n=whole.n,
        ties=whole.ties,
        mean_ap=mean_ap,
        ap50=ap50,
        by={name: {kind: accuracy(some, seed) for kind, some in parts.items()} for name, parts in kinds.items()},
        calibration={who: found for who, found in sure.items() if found is not None},
    )


def accuracy(rows: Sequence[Sequence[ScoredVote]], seed: int = 0) -> Accuracy:
    """The mean over samples of the mean over their ballots, ties left out."""
    counted = [row for row in rows if row[0].correct is not None]
    scores = [_mean([j.correct for j in row]) for row in counted]
    groups = [row[0].ballot.sample.group_id for row in counted]
    interval = bootstrap(scores, groups, seed) if scores else None
    return Accuracy(_mean(scores), interval, len(rows), len(rows) - len(counted))


def _calibration(rows: Sequence[Sequence[ScoredVote]], said: Sequence[Sequence[Belief | None]]) -> Calibration | None:
    """Of what was said of each ballot, over the samples whose right option is known."""
    probs, truth = [], []
    for row, beliefs in zip(rows, said, strict=True):
        known = [
            belief.probs if j.ballot.order == "given" else belief.probs[::-1]
            for j, belief in zip(row, beliefs, strict=True)
            if belief is not None
        ]
        sample = with_ground_truth(row[0].ballot.sample)
        gold = get_task(sample.task).gold_probs(sample)
        if known and gold is not None and row[0].correct is not None:
            probs.append(np.mean(known, axis=0).tolist())
            truth.append(int(np.argmax(gold)))
    return calibration(probs, truth)


def _mean(values: Sequence[Any]) -> Any:
    known = [v for v in values if v is not None]
    return round(math.fsum(known) / len(known), 4) if known else None
