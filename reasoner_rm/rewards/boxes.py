"""The boxes that rewards compare: what was found and what is true, both in pixels of the original image."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from reasoner_rm.rewards.base import Values
from reasoner_rm.schema import Group, ParsedCompletion, RewardContext, Sample
from reasoner_rm.tasks import get_task
from reasoner_rm.tasks.box_task import Localisation
from reasoner_rm.tasks.boxes import Boxes, to_original
from reasoner_rm.tasks.qa import normalise


def predicted_boxes(parsed: ParsedCompletion, sample: Sample, context: RewardContext) -> Boxes | None:
    """The boxes of the last readable answer, brought from the policy's box space to original pixels; None without.

    Where the context knows no image sizes (a text scored by hand), the numbers are original pixels already.
    """
    task = get_task(sample.task)
    if parsed.answer is None or not isinstance(task, Localisation):
        return None
    found = task.parse_answer(parsed.answer, sample)
    if found is None or not context.image_sizes:
        return found
    original, processed = context.image_sizes[0]
    return Boxes(to_original(found.xyxy, context.box_space, original, processed), found.labels)


def gold_boxes(sample: Sample) -> Boxes | None:
    """The gold boxes; None for a sample that has none to state or a task that is about something else."""
    task = get_task(sample.task)
    return task.gold(sample) if isinstance(task, Localisation) else None


def score_boxes(
    group: Group, parsed: Sequence[ParsedCompletion], context: RewardContext, worth: Callable[[Boxes, Boxes], float]
) -> Values:
    """What each completion's boxes are worth beside the true ones; 0 for no readable boxes, None without gold."""
    gold = gold_boxes(group.sample)
    if gold is None:
        return [None] * len(parsed)
    found = (predicted_boxes(p, group.sample, context) for p in parsed)
    return [0.0 if boxes is None else worth(boxes, gold) for boxes in found]


def normalize_labels(boxes: Boxes) -> Boxes:
    """Labels in the form in which they are compared: case, outer punctuation and white space do not matter."""
    return Boxes(boxes.xyxy, tuple(normalise(label) for label in boxes.labels))
