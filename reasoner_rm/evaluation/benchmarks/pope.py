"""POPE (arXiv 2305.10355): is there such a thing in the image, yes or no; random, popular and adversarial things."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from reasoner_rm.data.row import DatasetRow
from reasoner_rm.evaluation.answer_metrics import (
    accuracy_of,
    confusion_cells,
    confusion_columns,
    f1_of,
    precision_of,
    recall_of,
    yes_ratio_of,
)  # fmt: skip
from reasoner_rm.evaluation.benchmark import Benchmark, tables
from reasoner_rm.evaluation.predictions import AnsweredItem
from reasoner_rm.evaluation.protocol import Protocol
from reasoner_rm.evaluation.results import ItemScores
from reasoner_rm.evaluation.verdict_parsers import yes_or_no
from reasoner_rm.schema import Sample

KINDS = ("random", "popular", "adversarial")


def read(row: DatasetRow) -> Iterable[Sample]:
    """`text` is the question, `label` yes or no; the file's name says how the things were chosen."""
    file = row.name.rpartition("-")[0]
    kind = next((kind for kind in KINDS if kind in file), file)
    yield Sample(
        f"{file}-{row.value('question_id')}", "qa", row.text("text"), images=(row.image("image"),),
        gold={"answer": row.one_of("label", {"yes": "yes", "no": "no"}), "kind": "choice"},
        group_id=f"image-{row.value('image')}", source=row.source,
        meta={"choices": ["yes", "no"], "by": {"group": kind}},
    )  # fmt: skip


def yes_no_metrics(items: Sequence[AnsweredItem], protocol: Protocol) -> ItemScores:
    """Accuracy, precision, recall, F1 (yes is positive) and the share of yes. An unreadable answer, which the published
    reader does not know, is the wrong one."""
    cells = []
    for item in items:
        gold = int(item.sample.gold["answer"] == "yes")
        values = [item.parse(vote, protocol.parser) for vote in protocol.counted(item)]
        if protocol.unparsed != "wrong":
            values = [v for v in values if v is not None]
        answers = [1 - gold if v is None else int(v == "yes") for v in values]
        cells.append(confusion_cells(answers, [gold] * len(answers)) if answers else None)
    columns, scores = confusion_columns(cells)
    statistics = {"accuracy": accuracy_of, "precision": precision_of, "recall": recall_of, "F1": f1_of}
    return ItemScores([i.sample for i in items], scores, columns, {**statistics, "yes ratio": yes_ratio_of})


POPE = Benchmark(
    "pope",
    "POPE",
    read,
    columns=("question_id", "image", "text", "label"),
    hub="RUCAIBox/POPE",
    licence="mit",
    tables=(*tables("coco_pope_*.json"), *tables("*pope*.jsonl"), *tables("*.jsonl"), *tables("*.json")),
    protocols=(
        Protocol(
            "official", "the first sentence: no if it holds No, not or no, else yes", parser=yes_or_no,
            template="pope", metric=yes_no_metrics,
        ),
    ),
    baselines={"always yes": lambda sample: "Yes", "always no": lambda sample: "No"},
)  # fmt: skip
