"""Judgements of an evaluation as a report shows them: some that are right, some that are wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from reasoner_rm.report.rollouts import locate
from reasoner_rm.report.tolerant import Row, number
from reasoner_rm.report.words import SPLITS, STAGES, place
from reasoner_rm.schema import CANDIDATES, Parsed
from reasoner_rm.tasks import get_task
from reasoner_rm.tasks.parsing import parse


@dataclass(frozen=True, slots=True)
class Judgement:
    """One verdict in one order. ``correct`` is None when the gold is a tie; ``best`` is the gold candidate, 0 or 1."""

    id: str
    task: str
    prompt: str
    images: tuple[str, ...]
    order: str
    text: str
    parsed: Parsed
    correct: bool | None
    best: int | None
    listener: tuple[float, ...]

    @classmethod
    def from_row(cls, row: Row, run: Path) -> Judgement:
        """A line of `evaluations/*.jsonl`.

        Raises:
            InputError, KeyError, TypeError, ValueError: the row has another shape.
        """
        task, text = str(row.get("task") or "image_preference"), str(row["text"])
        p_first = number(row.get("gold")) if task in CANDIDATES else None
        return cls(
            id=str(row["id"]),
            task=task,
            prompt=str(row["prompt"]),
            images=tuple(locate(ref, run) for ref in row.get("images") or ()),
            order=str(row.get("order") or "given"),
            text=text,
            parsed=parse(text, get_task(task).container, lambda answer: True),
            correct=row.get("correct"),
            best=None if p_first is None or p_first == 0.5 else int(p_first < 0.5),
            listener=tuple(float(p) for p in row.get("listener") or ()),
        )


@dataclass(frozen=True, slots=True)
class Judgements:
    """All of one stage on one split."""

    stage: str
    split: str
    rows: tuple[Judgement, ...]

    @classmethod
    def named(cls, stem: str, rows: Sequence[Judgement]) -> Judgements:
        """From a file called ``<stage>-<split>``."""
        stage, _, split = stem.rpartition("-")
        return cls(stage, split, tuple(rows))

    def count(self, correct: bool) -> int:
        return sum(row.correct is correct for row in self.rows)

    def some(self, correct: bool, n: int) -> tuple[Judgement, ...]:
        """At most ``n`` right or wrong ones, spread evenly over the file."""
        fitting = [row for row in self.rows if row.correct is correct]
        return tuple(fitting[i * len(fitting) // n] for i in range(n)) if len(fitting) > n else tuple(fitting)


def newest_first(judgements: Sequence[Judgements]) -> list[Judgements]:
    """The last stage's held-out judgements first: they are what the judge is worth."""
    stages = list(reversed(STAGES))
    return sorted(judgements, key=lambda j: (place(j.stage, stages), place(j.split, SPLITS)))
