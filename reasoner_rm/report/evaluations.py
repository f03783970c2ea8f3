"""The answers of an evaluation as a report reads them: `evaluations/<stage>-<split>.jsonl`, a line per vote."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reasoner_rm.evaluation.benchmarks.samples import with_ground_truth
from reasoner_rm.report.lenient_json import Row, mapping, number
from reasoner_rm.report.media import resolve_media
from reasoner_rm.schema import Sample
from reasoner_rm.serialization import sample_from_dict
from reasoner_rm.tasks import get_task

_SAMPLE = {f.name for f in dataclasses.fields(Sample)}


@dataclass(frozen=True, slots=True)
class Answer:
    """One vote. ``sample`` has its candidates in shown order, and the ground truth as gold label if there is one.
    ``answer`` is None if unreadable, ``correct`` (0..1) if the gold label is a tie, ``preferred`` if the answer is no
    option.

    ``listener`` and ``confidence`` are probabilities over the task's options, empty if they were not computed.
    """

    sample: Sample
    by: Mapping[str, str]
    order: str
    text: str
    thinking: str | None
    answer: str | None
    parse_error: str
    correct: float | None
    preferred: int | None
    listener: tuple[float, ...]
    confidence: tuple[float, ...]
    boxes: tuple[Mapping[str, Any], ...]

    @classmethod
    def from_row(cls, row: Row, run: Path) -> Answer:
        """A line of the file; media references are relative to the run directory.

        Raises:
            InputError, AttributeError, KeyError, TypeError, ValueError: the row has another shape.
        """
        sample = with_ground_truth(resolve_media(sample_from_dict({k: v for k, v in row.items() if k in _SAMPLE}), run))
        get_task(sample.task).validate(sample)
        preferred = row.get("preferred")
        return cls(
            sample=sample,
            by={str(facet): str(name) for facet, name in mapping(row, "by").items()},
            order=str(row.get("order") or "given"),
            text=str(row["text"]),
            thinking=_text(row.get("thinking")),
            answer=_text(row.get("answer")),
            parse_error=str(row.get("parse_error") or ""),
            correct=number(row.get("correct")),
            preferred=None if preferred is None else int(preferred),
            listener=tuple(float(p) for p in row.get("listener") or ()),
            confidence=tuple(float(p) for p in row.get("confidence") or ()),
            boxes=tuple(dict(box) for box in row.get("boxes") or ()),
        )


@dataclass(frozen=True, slots=True)
class Evaluated:
    """All answers of one stage on one split."""

    stage: str
    split: str
    answers: tuple[Answer, ...]

    @classmethod
    def named(cls, stem: str, answers: Sequence[Answer]) -> Evaluated:
        """From a file called ``<stage>-<split>``."""
        stage, _, split = stem.rpartition("-")
        return cls(stage, split, tuple(answers))


def _text(value: object) -> str | None:
    return None if value is None else str(value)
