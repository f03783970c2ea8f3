"""MMHal-Bench (arXiv 2309.14525): how good and how free of hallucination answers are, rated by another model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from reasoner_rm.data.fetch_image import is_remote
from reasoner_rm.data.row import DatasetRow
from reasoner_rm.evaluation.benchmark import Benchmark, Grading, tables
from reasoner_rm.evaluation.intervals import Array, mean
from reasoner_rm.evaluation.predictions import AnsweredItem
from reasoner_rm.evaluation.protocol import Protocol
from reasoner_rm.evaluation.results import ItemScores
from reasoner_rm.evaluation.verdict_parsers import literal_rating
from reasoner_rm.schema import Sample

HALLUCINATED_BELOW = 3
TYPES = (
    "attribute", "adversarial", "comparison", "counting", "relation", "environment", "holistic", "other",
)  # fmt: skip


def read(row: DatasetRow) -> Iterable[Sample]:
    """`image_src` is an address: with --images, the file of its name there. An item's type is its place modulo 8."""
    value = row.value("image_src")
    local = value.rpartition("/")[2] if isinstance(value, str) and is_remote(value) and not row.media.remote else value
    contents = row.optional("image_content") or []
    yield Sample(
        f"mmhal-{row.number}", "qa", row.text("question"), images=(row.refer(local, "image_src"),),
        gold={"answer": row.text("gt_answer")[:4000], "kind": "text"}, source=row.source,
        meta={
            "by": {"group": TYPES[row.number % 8], "topic": str(row.optional("question_topic") or "")},
            "contents": ", ".join(map(str, contents)),
        },
    )  # fmt: skip


def grading_sample(sample: Sample, answer: str) -> Sample:
    """What the grader sees: no image, but what it holds, the question, the standard answer and the answer."""
    meta = {"prompt": "mmhal_grade", "contents": sample.meta["contents"], "answer": answer}
    return Sample(sample.id, "qa", sample.prompt, gold=sample.gold, meta={**meta, "standard": sample.gold["answer"]})


def ratings(items: Sequence[AnsweredItem], protocol: Protocol) -> ItemScores:
    """The mean rating, 0 to 6, and the share rated below 3. A grade without exactly one rating is 0; an answer that
    was never graded does not count. An item by itself is right as far as it is free of hallucination."""
    columns = np.zeros((len(items), 3))
    scores: list[float | None] = []
    for row, item in zip(columns, items, strict=True):
        grades = [
            float(literal_rating(vote.grades[0].text or "", item.sample) or 0)
            for vote in protocol.counted(item)
            if vote.grades
        ]
        hallucinated = float(np.mean([r < HALLUCINATED_BELOW for r in grades])) if grades else None
        scores.append(None if hallucinated is None else 1 - hallucinated)
        if hallucinated is not None:
            row[:] = np.mean(grades), hallucinated, 1.0
    statistics = {"rating": _rating, "hallucination rate": _hallucinated}
    return ItemScores([i.sample for i in items], scores, columns, statistics, ratings=frozenset({"rating"}))


def _rating(sums: Array) -> Array:
    return mean(sums[..., [0, 2]])


def _hallucinated(sums: Array) -> Array:
    return mean(sums[..., [1, 2]])


def whole_text(text: str, sample: Sample) -> str | None:
    """Any answer that is not empty: it is graded, not read."""
    return text.strip() or None


MMHAL_BENCH = Benchmark(
    "mmhal_bench",
    "MMHal-Bench",
    read,
    columns=("question_type", "question_topic", "image_id", "image_src", "image_content", "question", "gt_answer"),
    hub="Shengcao1006/MMHal-Bench",
    licence="apache-2.0",
    tables=(*tables("response_template.json"), *tables("*.json")),
    rows={"test": (96,)},
    grading=lambda sample: Grading(grading_sample),
    protocols=(
        Protocol(
            "official", "a grader's rating of 0 to 6; below 3 is a hallucination", parser=whole_text, template="plain",
            metric=ratings,
        ),
    ),
)  # fmt: skip
