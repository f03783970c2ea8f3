"""Predicted boxes against gold boxes, in original pixels: the score of each vote, and average precision."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from reasoner_rm.evaluation.predictions import AnsweredItem, Prediction
from reasoner_rm.evaluation.protocol import Protocol
from reasoner_rm.evaluation.results import Metric
from reasoner_rm.rewards.boxes import gold_boxes, normalize_labels
from reasoner_rm.tasks import get_task
from reasoner_rm.tasks.average_precision import average_precision
from reasoner_rm.tasks.box_task import Localisation
from reasoner_rm.tasks.boxes import Boxes

NO_BOXES = Boxes(np.zeros((0, 4)), ())


def predicted_boxes(item: AnsweredItem, prediction: Prediction, protocol: Protocol) -> Boxes | None:
    """The boxes of a vote in pixels of the original image; None if it is unreadable."""
    boxes = item.parse(prediction, protocol.parser)
    if not isinstance(boxes, Boxes):
        return None
    return Boxes(boxes.xyxy * np.array((prediction.scale or (1.0, 1.0)) * 2), boxes.labels)


def box_score(item: AnsweredItem, prediction: Prediction, protocol: Protocol) -> float | None:
    """The task's own score of a vote's boxes (detection: F1 at IoU 0.5), 0..1; unreadable is 0. None without gold."""
    task, gold = get_task(item.sample.task), gold_boxes(item.sample)
    if gold is None or not isinstance(task, Localisation):
        return None
    boxes = predicted_boxes(item, prediction, protocol)
    return 0.0 if boxes is None else task.score(boxes, gold)


def average_precision_metrics(items: Sequence[AnsweredItem], protocol: Protocol) -> dict[str, Metric]:
    """COCO's AP (mean over IoU 0.50:0.05:0.95 and categories) and AP50 over all images, of each item's first vote.

    Boxes have no confidence, so the order in which they were written decides. An unreadable answer has no boxes.
    """
    predicted = [predicted_boxes(item, protocol.counted(item)[0], protocol) or NO_BOXES for item in items]
    gold = [gold_boxes(item.sample) or NO_BOXES for item in items]
    by_threshold = average_precision([normalize_labels(b) for b in predicted], [normalize_labels(b) for b in gold])
    defined = not np.isnan(by_threshold).any()
    values = {"AP": by_threshold.mean(), "AP50": by_threshold[0]} if defined else {"AP": None, "AP50": None}
    return {
        name: Metric(None if value is None else round(float(value), 4), None, len(items))
        for name, value in values.items()
    }
