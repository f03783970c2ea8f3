"""Predicted and gold boxes of a group, both in pixels of the original image."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from reasoner_rm.rewards.base import Values
from reasoner_rm.schema import Group, ParsedCompletion, RewardContext, Sample
from reasoner_rm.tasks import get_task
from reasoner_rm.tasks.box_task import Localisation
from reasoner_rm.tasks.boxes import Boxes, to_original
from reasoner_rm.tasks.qa import normalise


def predicted_boxes(parsed: ParsedCompletion, sample: Sample, context: RewardContext) -> Boxes | None:
    """The boxes of the last readable answer, converted from the policy's box space to original pixels; or None.

    Where the context has no image sizes (a text scored by hand), the coordinates are already in original pixels.
    """
    task = get_task(sample.task)
    if parsed.answer is None or not isinstance(task, Localisation):
        return None
    boxes = task.parse_answer(parsed.answer, sample)
    return None if boxes is None else in_original_pixels(boxes, context)


def in_original_pixels(boxes: Boxes, context: RewardContext) -> Boxes:
    """Boxes converted from the policy's box space; unchanged where the context has no image sizes."""
    if not context.image_sizes:
        return boxes
    original, processed = context.image_sizes[0]
    return Boxes(to_original(boxes.xyxy, context.box_space, original, processed), boxes.labels)


def gold_boxes(sample: Sample) -> Boxes | None:
    """The gold boxes; None for a sample without them, or of another task."""
    task = get_task(sample.task)
    return task.gold(sample) if isinstance(task, Localisation) else None


def score_boxes(
    group: Group, parsed: Sequence[ParsedCompletion], context: RewardContext, score: Callable[[Boxes, Boxes], float]
) -> Values:
    """``score(predicted, gold)`` of each completion's boxes; 0 without readable boxes, None without gold."""
    gold = gold_boxes(group.sample)
    if gold is None:
        return [None] * len(parsed)
    predicted = (predicted_boxes(p, group.sample, context) for p in parsed)
    return [0.0 if boxes is None else score(boxes, gold) for boxes in predicted]


def normalize_labels(boxes: Boxes) -> Boxes:
    """Boxes with labels normalised for comparison: case, outer punctuation and white space do not matter."""
    return Boxes(boxes.xyxy, tuple(normalise(label) for label in boxes.labels))
