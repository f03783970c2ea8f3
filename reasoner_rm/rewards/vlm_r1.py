"""VLM-R1's rewards for boxes (arXiv 2504.07615): overlap of one box, average precision of many."""

from __future__ import annotations

from collections.abc import Sequence

from reasoner_rm.rewards.base import Reward, Values
from reasoner_rm.rewards.located import each, same_names
from reasoner_rm.schema import Group, Parsed, RewardContext
from reasoner_rm.tasks.average_precision import COCO_THRESHOLDS, average_precision
from reasoner_rm.tasks.boxes import Array, Boxes, iou_matrix

CORRECT = 0.5
"""A referred object is found above this IoU."""


def _rec_iou(group: Group, parsed: Sequence[Parsed], context: RewardContext, *, hard: bool = False) -> Values:
    """The IoU of the answer's one box with the true one, in original pixels; ``hard``: 1 above 0.5, else 0.

    Source: VLM-R1 (arXiv 2504.07615), accuracy of referring expressions. Its code pays the soft form, with pixel
    conventions mixed by one; its evaluation uses the hard form.
    Formula: |A ∩ B| / |A ∪ B|.
    Example: true [0, 0, 10, 10], answer [0, 0, 10, 5]: 0.5; ``hard`` 0.
    Range: 0..1.
    """

    def worth(found: Boxes, gold: Boxes) -> float:
        if len(found) != 1 or len(gold) != 1:
            return 0.0
        overlap = min(1.0, float(iou_matrix(found.xyxy, gold.xyxy).item()))
        return float(overlap > CORRECT) if hard else overlap

    return each(group, parsed, context, worth)


def _od_map(group: Group, parsed: Sequence[Parsed], context: RewardContext) -> Values:
    """COCO's mean average precision of the answer on its one image, mean over IoU 0.50 to 0.95, all confidences 1.

    Boxes stand in the order of the answer. Labels that the image does not hold cost nothing here, and neither does
    what follows the last right box: ``od_length`` closes that hole.

    Source: VLM-R1 (arXiv 2504.07615), ``od_ap``. Both empty is 1, one empty 0, as in its code.
    Formula: mean over labels and IoU thresholds of the precision read off at 101 recalls.
    Example: 2 cubes, 1 of them boxed exactly: recall ends at 0.5, 51 of 101 recalls are reached: 0.505.
    Range: 0..1.
    """
    return each(group, parsed, context, lambda found, gold: image_ap(found, gold, COCO_THRESHOLDS))


def _od_map50(group: Group, parsed: Sequence[Parsed], context: RewardContext) -> Values:
    """As ``od_map``, at IoU 0.5 alone.

    Source: VLM-R1 (arXiv 2504.07615), ``od_ap50``; its lab found it the worse reward of the two.
    Formula: the precision read off at 101 recalls, mean over labels.
    Example: 1 cube, a wrong box before the right one: precision 1/2 at every recall: 0.5.
    Range: 0..1.
    """
    return each(group, parsed, context, lambda found, gold: image_ap(found, gold, COCO_THRESHOLDS[:1]))


def _od_length(group: Group, parsed: Sequence[Parsed], context: RewardContext) -> Values:
    """``od_map``, less for every box more than there are objects.

    Source: VLM-R1 (arXiv 2504.07615), ``odLength``: without the factor, policies fill images with boxes.
    Formula: mAP · min(1, N_true / N_found).
    Example: mAP 0.6 with 5 objects and 10 boxes: 0.6 · 5/10 = 0.3; with 3 boxes 0.6.
    Range: 0..1.
    """
    return each(group, parsed, context, lambda f, g: image_ap(f, g, COCO_THRESHOLDS) * length_factor(len(g), len(f)))


def image_ap(found: Boxes, gold: Boxes, thresholds: Array) -> float:
    """Average precision on one image; nothing found where nothing is: 1."""
    if not len(found) or not len(gold):
        return float(len(found) == len(gold))
    return float(average_precision([same_names(found)], [same_names(gold)], thresholds=thresholds).mean())


def length_factor(true: int, found: int) -> float:
    """
    >>> length_factor(5, 10), length_factor(5, 3), length_factor(0, 0)
    (0.5, 1.0, 1.0)
    """
    return min(1.0, true / found) if found else 1.0


VLM_R1 = (
    Reward("rec_iou", (0.0, 1.0), _rec_iou),
    Reward("od_map", (0.0, 1.0), _od_map),
    Reward("od_map50", (0.0, 1.0), _od_map50),
    Reward("od_length", (0.0, 1.0), _od_length),
)
