"""The figures of a preference evaluation, with bootstrap intervals over groups."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from reasoner_rm.judge.ballots import Ballot
from reasoner_rm.schema import Belief
from reasoner_rm.tasks import get_task


@dataclass(frozen=True, slots=True)
class Figures:
    """Shares in 0..1; None where nothing could be counted.

    accuracy: over samples, the mean over orders; unreadable is wrong, ties in the gold are left out (``ties``).
    accuracy_interval: 95 % bootstrap interval, resampling ``group_id``.
    consistency: both orders name the same candidate, unreadable is inconsistent.
    first_position: readable verdicts for the candidate shown first; 0.5 is unbiased when both orders are asked.
    contradiction: readable verdicts that differ from what the listener believes after the same reasoning.
    accuracy_agree, accuracy_disagree: accuracy where the listener agrees with the verdict, and where it does not.
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

    def as_json(self) -> dict[str, Any]:
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}


@dataclass(frozen=True, slots=True)
class Judged:
    """One ballot with whether it is right (None: the gold is a tie) and what the listener believed."""

    ballot: Ballot
    correct: float | None
    belief: Belief | None

    @property
    def agrees(self) -> bool | None:
        if self.belief is None or self.ballot.choice is None:
            return None
        return int(np.argmax(self.belief.probs)) == self.ballot.choice


def judged(ballot: Ballot, belief: Belief | None) -> Judged:
    """Whether a ballot is right. An unreadable one is wrong."""
    task = get_task(ballot.sample.task)
    if task.canonical(ballot.sample) is None:
        return Judged(ballot, None, belief)
    answer = ballot.parsed.answer
    return Judged(ballot, 0.0 if answer is None else task.correct(answer, ballot.sample), belief)


def figures(rows: Sequence[Sequence[Judged]], seed: int = 0) -> Figures:
    """The figures of an evaluation; ``rows`` holds each sample's ballots."""
    flat = [j for row in rows for j in row]
    counted = [row for row in rows if row[0].correct is not None]
    scores = [_mean([j.correct for j in row]) for row in counted]
    groups = [row[0].ballot.sample.group_id for row in counted]
    paired = [row for row in rows if {j.ballot.order for j in row} == {"given", "swapped"}]
    choices = [j.ballot.choice for row in paired or rows for j in row if j.ballot.choice is not None]
    heard = [j for j in flat if j.agrees is not None]
    return Figures(
        accuracy=_mean(scores),
        accuracy_interval=bootstrap(scores, groups, seed) if scores else None,
        consistency=_mean([_same_candidate(row) for row in paired]),
        first_position=_mean([float(c == 0) for c in choices]),
        well_formed=_mean([float(j.ballot.parsed.well_formed) for j in flat]),
        contradiction=_mean([float(not j.agrees) for j in heard]),
        accuracy_agree=_mean([j.correct for j in heard if j.agrees]),
        accuracy_disagree=_mean([j.correct for j in heard if not j.agrees]),
        n=len(rows),
        ties=len(rows) - len(counted),
    )


def bootstrap(scores: Sequence[float], groups: Sequence[str], seed: int, rounds: int = 2000) -> tuple[float, float]:
    """95 % interval of the mean score, resampling whole groups with replacement."""
    names = {g: i for i, g in enumerate(dict.fromkeys(groups))}
    index = np.array([names[g] for g in groups])
    sums = np.bincount(index, weights=np.asarray(scores, dtype=float))
    sizes = np.bincount(index)
    picks = np.random.default_rng(seed).integers(0, len(names), size=(rounds, len(names)))
    means = sums[picks].sum(1) / sizes[picks].sum(1)
    low, high = np.quantile(means, [0.025, 0.975])
    return round(float(low), 4), round(float(high), 4)


def _same_candidate(row: Sequence[Judged]) -> float:
    said = {order: [j.ballot.candidate for j in row if j.ballot.order == order] for order in ("given", "swapped")}
    return float(None not in said["given"] and said["given"] == said["swapped"])


def _mean(values: Sequence[Any]) -> Any:
    known = [v for v in values if v is not None]
    return round(math.fsum(known) / len(known), 4) if known else None
