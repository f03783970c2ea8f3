"""COCO's average precision of predicted boxes, over one image or many."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from reasoner_rm.tasks.boxes import Array, Boxes, iou_matrix

COCO_THRESHOLDS: Array = np.linspace(0.5, 0.95, 10)
"""The IoU thresholds of COCO's AP: 0.50 to 0.95 in steps of 0.05."""
MAX_DETECTIONS = 100
"""Boxes per category and image; those with the lowest scores are ignored."""
_RECALLS: Array = np.linspace(0.0, 1.0, 101)

_Hits = tuple[Array, NDArray[np.bool_]]


def average_precision(
    predicted: Sequence[Boxes],
    gold: Sequence[Boxes],
    scores: Sequence[Array] | None = None,
    thresholds: Array = COCO_THRESHOLDS,
) -> Array:
    """Mean average precision at each IoU threshold [T], each 0..1; NaN when no image has a gold box.

    A category's precision is interpolated at 101 recalls and averaged; categories without any gold box do not
    count. Labels are compared literally.

    Source: the COCO evaluation of boxes (Lin et al., arXiv 1405.0312), area "all", no crowds.

    Args:
        predicted, gold: the boxes of each image, aligned.
        scores: confidences of each image's predicted boxes [N]; None: all equal, ranked by their order in the list.
        thresholds: [T] least IoUs of a true positive.

    >>> gold = Boxes(np.array([[0.0, 0, 10, 10]]), ("cube",))
    >>> predicted = Boxes(np.array([[50.0, 50, 60, 60], [0, 0, 10, 10]]), ("cube", "cube"))
    >>> average_precision([predicted], [gold], thresholds=np.array([0.5])).tolist()
    [0.5]
    """
    hits: dict[str, list[_Hits]] = defaultdict(list)
    objects: dict[str, int] = defaultdict(int)
    for image, (boxes, gold_boxes) in enumerate(zip(predicted, gold, strict=True)):
        rows_by_label, gold_by_label = _by_label(boxes), _by_label(gold_boxes)
        for label, rows in gold_by_label.items():
            objects[label] += len(rows)
        for label, rows in rows_by_label.items():
            score = np.ones(len(rows)) if scores is None else scores[image][rows]
            order = np.argsort(-score, kind="stable")[:MAX_DETECTIONS]
            overlaps = iou_matrix(boxes.xyxy[np.array(rows)[order]], gold_boxes.xyxy[gold_by_label.get(label, [])])
            hits[label].append((score[order], true_positives(overlaps, thresholds)))
    if not objects:
        return np.full(len(thresholds), np.nan)
    return np.asarray(np.mean([_category_ap(hits[label], n, len(thresholds)) for label, n in objects.items()], axis=0))


def true_positives(overlaps: Array, thresholds: Array) -> NDArray[np.bool_]:
    """Whether each of N boxes, in order, is a true positive at each threshold: [T, N].

    A box is matched with the unmatched object of greatest IoU; of equal ones with the last, as in COCO's code.

    Args:
        overlaps: [N, M] IoUs of boxes and objects.
        thresholds: [T] least IoUs.
    """
    count, objects = overlaps.shape
    hits = np.zeros((len(thresholds), count), dtype=bool)
    if not objects:
        return hits
    free = np.ones((len(thresholds), objects), dtype=bool)
    for i in np.flatnonzero(overlaps.max(axis=1) >= thresholds.min()):
        candidates = np.where(free & (overlaps[i] >= thresholds[:, None]), overlaps[i], -1.0)
        best = objects - 1 - candidates[:, ::-1].argmax(axis=1)
        matched = np.flatnonzero(candidates[np.arange(len(thresholds)), best] >= 0)
        hits[matched, i] = True
        free[matched, best[matched]] = False
    return hits


def _by_label(boxes: Boxes) -> dict[str, list[int]]:
    rows: dict[str, list[int]] = defaultdict(list)
    for row, label in enumerate(boxes.labels):
        rows[label].append(row)
    return rows


def _category_ap(images: Sequence[_Hits], objects: int, thresholds: int) -> Array:
    """Average precision [T] of one category with ``objects`` gold boxes over all images."""
    if not images:
        return np.zeros(thresholds)
    order = np.argsort(-np.concatenate([score for score, _ in images]), kind="stable")
    hits = np.concatenate([hit for _, hit in images], axis=1)[:, order]
    cumulative = hits.cumsum(axis=1)
    precision = cumulative / np.arange(1, hits.shape[1] + 1)
    precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]  # the maximum at this recall or a higher one
    precision = np.concatenate([precision, np.zeros((thresholds, 1))], axis=1)  # recalls that are never reached
    at = np.array([np.searchsorted(row, _RECALLS, side="left") for row in cumulative / objects])
    return np.asarray(np.take_along_axis(precision, at, axis=1).mean(axis=1))
