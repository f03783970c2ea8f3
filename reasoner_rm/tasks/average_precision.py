"""Average precision of found boxes against true ones, as COCO measures it, over one image or many."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from reasoner_rm.tasks.boxes import Array, Boxes, iou_matrix

COCO_THRESHOLDS: Array = np.linspace(0.5, 0.95, 10)
"""The IoUs that "AP" alone is the mean over."""
MAX_FOUND = 100
"""Boxes of one category in one image that count; those with the lowest scores are left out."""
_RECALLS: Array = np.linspace(0.0, 1.0, 101)

_Hits = tuple[Array, NDArray[np.bool_]]


def average_precision(
    found: Sequence[Boxes],
    true: Sequence[Boxes],
    scores: Sequence[Array] | None = None,
    thresholds: Array = COCO_THRESHOLDS,
) -> Array:
    """Mean average precision at each IoU threshold [T], each 0..1; NaN where no image has a true box.

    A category's precision is read off at 101 recalls and averaged; categories without a true box in any image do not
    count. Labels are compared as they stand.

    Source: the COCO evaluation of boxes (Lin et al., arXiv 1405.0312), area "all", no crowds.

    Args:
        found, true: the boxes of each image, aligned.
        scores: confidence of each image's found boxes [N]; None: all alike, so that their order in the list decides.
        thresholds: IoUs from which on a box finds an object.

    >>> one = Boxes(np.array([[0.0, 0, 10, 10]]), ("cube",))
    >>> both = Boxes(np.array([[50.0, 50, 60, 60], [0, 0, 10, 10]]), ("cube", "cube"))
    >>> average_precision([both], [one], thresholds=np.array([0.5])).tolist()
    [0.5]
    """
    hits: dict[str, list[_Hits]] = defaultdict(list)
    objects: dict[str, int] = defaultdict(int)
    for image, (ours, theirs) in enumerate(zip(found, true, strict=True)):
        said, there = _by_label(ours), _by_label(theirs)
        for label, rows in there.items():
            objects[label] += len(rows)
        for label, rows in said.items():
            score = np.ones(len(rows)) if scores is None else scores[image][rows]
            order = np.argsort(-score, kind="stable")[:MAX_FOUND]
            overlaps = iou_matrix(ours.xyxy[np.array(rows)[order]], theirs.xyxy[there.get(label, [])])
            hits[label].append((score[order], matched(overlaps, thresholds)))
    if not objects:
        return np.full(len(thresholds), np.nan)
    return np.asarray(np.mean([_of_category(hits[label], n, len(thresholds)) for label, n in objects.items()], axis=0))


def matched(overlaps: Array, thresholds: Array) -> NDArray[np.bool_]:
    """Whether each of N boxes, in order, finds an object of its own, at each threshold: [T, N].

    A box takes the object that it overlaps most among those that are still free; the last of equals, as COCO does.

    Args:
        overlaps: IoUs [N, M] of boxes with objects.
        thresholds: [T]
    """
    count, objects = overlaps.shape
    hits = np.zeros((len(thresholds), count), dtype=bool)
    if not objects:
        return hits
    free = np.ones((len(thresholds), objects), dtype=bool)
    for i in np.flatnonzero(overlaps.max(axis=1) >= thresholds.min()):
        open_to = np.where(free & (overlaps[i] >= thresholds[:, None]), overlaps[i], -1.0)
        best = objects - 1 - open_to[:, ::-1].argmax(axis=1)
        found = np.flatnonzero(open_to[np.arange(len(thresholds)), best] >= 0)
        hits[found, i] = True
        free[found, best[found]] = False
    return hits


def _by_label(boxes: Boxes) -> dict[str, list[int]]:
    rows: dict[str, list[int]] = defaultdict(list)
    for row, label in enumerate(boxes.labels):
        rows[label].append(row)
    return rows


def _of_category(images: Sequence[_Hits], objects: int, thresholds: int) -> Array:
    """Average precision [T] of one category that has ``objects`` true boxes over all images."""
    if not images:
        return np.zeros(thresholds)
    order = np.argsort(-np.concatenate([score for score, _ in images]), kind="stable")
    hits = np.concatenate([hit for _, hit in images], axis=1)[:, order]
    right = hits.cumsum(axis=1)
    precision = right / np.arange(1, hits.shape[1] + 1)
    precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]  # the best that a higher recall still has
    precision = np.concatenate([precision, np.zeros((thresholds, 1))], axis=1)  # recalls that are never reached
    at = np.array([np.searchsorted(row, _RECALLS, side="left") for row in right / objects])
    return np.asarray(np.take_along_axis(precision, at, axis=1).mean(axis=1))
