"""Boxes: RefCOCO as VLM-R1 evaluates it, COCO and open-vocabulary detection by average precision."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from reasoner_rm.data import coco_rows, vlm_r1_rows
from reasoner_rm.data.row import DatasetRow
from reasoner_rm.evaluation.benchmark import Benchmark
from reasoner_rm.evaluation.detection_metrics import NOTHING
from reasoner_rm.evaluation.protocol import Protocol
from reasoner_rm.evaluation.results import ItemScores, Metric
from reasoner_rm.evaluation.verdict_parsers import by_task, first_box
from reasoner_rm.evaluation.votes import AnsweredItem, Vote
from reasoner_rm.rewards.boxes import normalize_labels
from reasoner_rm.schema import Sample
from reasoner_rm.tasks import get_task
from reasoner_rm.tasks.average_precision import average_precision
from reasoner_rm.tasks.box_task import Localisation
from reasoner_rm.tasks.boxes import Boxes, iou_matrix

SHUFFLED, FIRST = 42, 2000
"""VLM-R1 shuffles each file with this seed and takes so many of its rows."""


def refcoco(row: DatasetRow) -> Iterable[Sample]:
    """`image`, `problem`, `solution` (four numbers in original pixels)."""
    return vlm_r1_rows.rec(row, None)


def coco(row: DatasetRow) -> Iterable[Sample]:
    return coco_rows.coco(row, coco_rows.CocoOptions())


def ovd(row: DatasetRow) -> Iterable[Sample]:
    return vlm_r1_rows.ovd(row, None)


def original(found: Boxes, vote: Vote) -> Boxes:
    """Boxes as a judge wrote them, in pixels of the original image, where the vote says how."""
    scale = np.array((vote.scale or (1.0, 1.0)) * 2)
    return Boxes(found.xyxy * scale, found.labels)


def overlap(said_: Sequence[float], true: Sequence[float]) -> float:
    """VLM-R1's IoU: the far corner of the overlap is moved in by a pixel, and then counted with one more."""
    x1, y1 = max(said_[0], true[0]), max(said_[1], true[1])
    x2, y2 = min(said_[2], true[2]) - 1, min(said_[3], true[3]) - 1
    inner = (x2 - x1 + 1) * (y2 - y1 + 1) if x1 < x2 and y1 < y2 else 0.0
    areas = [(b[2] - b[0]) * (b[3] - b[1]) for b in (said_, true)]
    union = sum(areas) - inner
    return inner / union if union else 0.0


def vlm_r1(items: Sequence[AnsweredItem], protocol: Protocol) -> ItemScores:
    """IoU above 0.5 by VLM-R1's arithmetic, over its first 2,000 of each file."""
    order = list(range(len(items)))
    random.Random(SHUFFLED).shuffle(order)
    chosen = set(order[:FIRST])
    scores: list[float | None] = []
    for i, item in enumerate(items):
        true = item.sample.gold["boxes"][0]["bbox_2d"]
        hits = []
        for vote in protocol.counted(item):
            value, scale = item.said(vote, protocol.reader), (vote.scale or (1.0, 1.0)) * 2
            box = None if value is None else [v * s for v, s in zip(value, scale, strict=True)]
            hits.append(box is not None and overlap(box, true) > 0.5)
        scores.append(float(np.mean(hits)) if i in chosen and hits else None)
    return ItemScores.of_scores([i.sample for i in items], scores)


def grounded(items: Sequence[AnsweredItem], protocol: Protocol) -> ItemScores:
    """IoU above 0.5, of every row."""
    scores: list[float | None] = []
    for item in items:
        worth = [_worth(item, vote, item.said(vote, protocol.reader)) for vote in protocol.counted(item)]
        scores.append(float(np.mean(worth)) if worth else None)
    return ItemScores.of_scores([i.sample for i in items], scores)


def _worth(item: AnsweredItem, vote: Vote, found: Any) -> float:
    task = get_task(item.sample.task)
    if not isinstance(found, Boxes) or not isinstance(task, Localisation):
        return 0.0
    gold = task.gold(item.sample)
    return 0.0 if gold is None else task.score(original(found, vote), gold)


def precision(items: Sequence[AnsweredItem], protocol: Protocol) -> ItemScores:
    """COCO's AP and AP50 over all images, of each item's first vote; each item's own score is F1 at IoU 0.5.

    Boxes have no confidence, so the order in which they were written decides. An unreadable answer finds nothing.
    """
    found, true, scores = [], [], list[float | None]()
    for item in items:
        task, vote = get_task(item.sample.task), protocol.counted(item)[0]
        value = item.said(vote, protocol.reader)
        boxes = original(value, vote) if isinstance(value, Boxes) else NOTHING
        gold = task.gold(item.sample) if isinstance(task, Localisation) else None
        found.append(normalize_labels(boxes))
        true.append(normalize_labels(gold or NOTHING))
        scores.append(_worth(item, vote, value))
    at = average_precision(found, true)
    known = not np.isnan(at).any()
    also = {
        "AP": Metric(round(float(at.mean()), 4) if known else None, None, len(items)),
        "AP50": Metric(round(float(at[0]), 4) if known else None, None, len(items)),
        "F1": Metric(round(float(np.mean([s or 0.0 for s in scores])), 4) if scores else None, None, len(items)),
    }
    return ItemScores([i.sample for i in items], scores, np.zeros((len(items), 1)), {}, also)


def standard_iou(a: Sequence[float], b: Sequence[float]) -> float:
    return float(iou_matrix(np.array([a], dtype=float), np.array([b], dtype=float))[0, 0])


REFCOCO = Benchmark(
    "refcoco",
    "RefCOCO, RefCOCO+, RefCOCOg (REC)",
    refcoco,
    columns=("image", "problem", "solution"),
    hub="omlab/VLM-R1",
    tables=("*{split}*.json", "*{split}*.jsonl", "*.json", "*.jsonl"),
    splits=("val", "testA", "testB"),
    protocols=(
        Protocol("standard", "IoU above 0.5, every row", order="given", reader=by_task, measure=grounded),
        Protocol(
            "vlm_r1", "IoU above 0.5 as VLM-R1's script computes it, its first 2,000 shuffled rows", order="given",
            reader=first_box, template="rec", measure=vlm_r1,
        ),
    ),
)  # fmt: skip

_AP = (Protocol("ap", "COCO's AP, all boxes with the same confidence", order="given", measure=precision),)

COCO = Benchmark(
    "coco", "COCO detection", coco, columns=("id", "file_name", "annotations"), licence="cc-by-4.0",
    tables=coco_rows.TABLES, splits=("val", "train"), explode=coco_rows.per_image, protocols=_AP,
)  # fmt: skip
OVD = Benchmark(
    "ovd", "OVD, open-vocabulary detection", ovd, columns=("image", "conversations"),
    tables=("*.jsonl", "*.json"), splits=("test",), protocols=_AP,
)  # fmt: skip
