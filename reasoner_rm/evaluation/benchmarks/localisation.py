"""Boxes: RefCOCO as VLM-R1 evaluates it, COCO and open-vocabulary detection by average precision."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence

import numpy as np

from reasoner_rm.data import coco_rows, vlm_r1_rows
from reasoner_rm.data.row import DatasetRow
from reasoner_rm.evaluation.answer_metrics import mean_of_known
from reasoner_rm.evaluation.benchmark import Benchmark
from reasoner_rm.evaluation.box_metrics import average_precision_metrics, box_score
from reasoner_rm.evaluation.predictions import AnsweredItem
from reasoner_rm.evaluation.protocol import Protocol
from reasoner_rm.evaluation.results import ItemScores, Metric
from reasoner_rm.evaluation.verdict_parsers import last_box, task_answer
from reasoner_rm.rewards.vlm_r1_released import iou
from reasoner_rm.schema import Sample

SHUFFLED, FIRST = 42, 2000
"""VLM-R1 shuffles each file with this seed and takes this number of its rows."""


def refcoco(row: DatasetRow) -> Iterable[Sample]:
    """`image`, `problem`, `solution` (four numbers in original pixels)."""
    return vlm_r1_rows.rec(row, None)


def coco(row: DatasetRow) -> Iterable[Sample]:
    return coco_rows.coco(row, coco_rows.CocoOptions())


def ovd(row: DatasetRow) -> Iterable[Sample]:
    return vlm_r1_rows.ovd(row, None)


def vlm_r1(items: Sequence[AnsweredItem], protocol: Protocol) -> ItemScores:
    """IoU above 0.5 by VLM-R1's arithmetic (`rewards.vlm_r1_released`), over its first 2,000 of each file."""
    order = list(range(len(items)))
    random.Random(SHUFFLED).shuffle(order)
    chosen = set(order[:FIRST])
    scores: list[float | None] = []
    for i, item in enumerate(items):
        gold = item.sample.gold["boxes"][0]["bbox_2d"]
        hits = []
        for vote in protocol.counted(item):
            value, scale = item.parse(vote, protocol.parser), (vote.scale or (1.0, 1.0)) * 2
            box = None if value is None else [v * s for v, s in zip(value, scale, strict=True)]
            hits.append(box is not None and iou(box, gold) > 0.5)
        scores.append(float(np.mean(hits)) if i in chosen and hits else None)
    return ItemScores.of_scores([i.sample for i in items], scores)


def grounded(items: Sequence[AnsweredItem], protocol: Protocol) -> ItemScores:
    """IoU above 0.5, of every row."""
    scores = [mean_of_known([box_score(item, vote, protocol) for vote in protocol.counted(item)]) for item in items]
    return ItemScores.of_scores([item.sample for item in items], scores)


def precision(items: Sequence[AnsweredItem], protocol: Protocol) -> ItemScores:
    """COCO's AP and AP50 of each item's first vote; each item's own score is F1 at IoU 0.5."""
    scores = [box_score(item, protocol.counted(item)[0], protocol) for item in items]
    f1 = round(float(np.mean([score or 0.0 for score in scores])), 4) if scores else None
    also = average_precision_metrics(items, protocol) | {"F1": Metric(f1, None, len(items))}
    return ItemScores([item.sample for item in items], scores, np.zeros((len(items), 1)), {}, also)


REFCOCO = Benchmark(
    "refcoco",
    "RefCOCO, RefCOCO+, RefCOCOg (REC)",
    refcoco,
    columns=("image", "problem", "solution"),
    hub="omlab/VLM-R1",
    tables=("*{split}*.json", "*{split}*.jsonl", "*.json", "*.jsonl"),
    splits=("val", "testA", "testB"),
    protocols=(
        Protocol("standard", "IoU above 0.5, every row", order="given", parser=task_answer, metric=grounded),
        Protocol(
            "vlm_r1", "IoU above 0.5 as VLM-R1's script computes it, its first 2,000 shuffled rows", order="given",
            parser=last_box, template="rec", metric=vlm_r1,
        ),
    ),
)  # fmt: skip

_AP = (Protocol("ap", "COCO's AP, all boxes with the same confidence", order="given", metric=precision),)

COCO = Benchmark(
    "coco", "COCO detection", coco, columns=("id", "file_name", "annotations"), licence="cc-by-4.0",
    tables=coco_rows.TABLES, splits=("val", "train"), explode=coco_rows.per_image, protocols=_AP,
)  # fmt: skip
OVD = Benchmark(
    "ovd", "OVD, open-vocabulary detection", ovd, columns=("image", "conversations"),
    tables=("*.jsonl", "*.json"), splits=("test",), protocols=_AP,
)  # fmt: skip
