"""VLM-R1's rewards for boxes (arXiv 2504.07615): overlap of one box, average precision of many."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np
from rapidfuzz import fuzz

from reasoner_rm.config import Share
from reasoner_rm.errors import InputError
from reasoner_rm.rewards.base import Reward, Values
from reasoner_rm.rewards.boxes import normalize_labels, score_boxes
from reasoner_rm.schema import Group, ParsedCompletion, RewardContext
from reasoner_rm.tasks import get_task
from reasoner_rm.tasks.average_precision import COCO_THRESHOLDS, average_precision
from reasoner_rm.tasks.boxes import Array, Boxes, iou_matrix
from reasoner_rm.tasks.escape import unescape
from reasoner_rm.tasks.qa import MAX_ANSWER

MIN_IOU = 0.5
"""A referred object counts as found above this IoU."""


def _rec_iou(group: Group, parsed: Sequence[ParsedCompletion], context: RewardContext, *, hard: bool = False) -> Values:
    """The IoU of the answer's one box with the gold box, in original pixels; ``hard``: 1 above 0.5, else 0.

    Source: VLM-R1 (arXiv 2504.07615), accuracy of referring expressions. Its code uses the soft form, its evaluation
    the hard one; how its code reads a box is ``rec_iou_released``.
    Formula: |A ∩ B| / |A ∪ B|.
    Example: true [0, 0, 10, 10], answer [0, 0, 10, 5]: 0.5; ``hard`` 0.
    Range: 0..1.
    """

    def score(predicted: Boxes, gold: Boxes) -> float:
        if len(predicted) != 1 or len(gold) != 1:
            return 0.0
        overlap = min(1.0, float(iou_matrix(predicted.xyxy, gold.xyxy).item()))
        return float(overlap > MIN_IOU) if hard else overlap

    return score_boxes(group, parsed, context, score)


def _od_map(group: Group, parsed: Sequence[ParsedCompletion], context: RewardContext) -> Values:
    """COCO's mean average precision of the answer on its one image, mean over IoU 0.50 to 0.95, all confidences 1.

    Boxes are ranked in the order of the answer. Boxes of labels that the image does not hold cost nothing, nor do
    those after the last right box; ``od_length`` penalises them.

    Source: VLM-R1 (arXiv 2504.07615), ``od_ap``. Both empty is 1, one empty 0, as in its code; whose reading is
    ``od_map_released``.
    Formula: mean over labels and IoU thresholds of the precision interpolated at 101 recalls.
    Example: 2 cubes, 1 of them boxed exactly: recall ends at 0.5, 51 of 101 recalls are reached: 0.505.
    Range: 0..1.
    """
    return _score_detections(group, parsed, context, image_ap)


def _od_map50(group: Group, parsed: Sequence[ParsedCompletion], context: RewardContext) -> Values:
    """As ``od_map``, at IoU 0.5 alone.

    Source: VLM-R1 (arXiv 2504.07615), ``od_ap50``; which its authors found to be worse than ``od_map``.
    Formula: the precision interpolated at 101 recalls, mean over labels.
    Example: 1 cube, a wrong box before the right one: precision 1/2 at every recall: 0.5.
    Range: 0..1.
    """
    return _score_detections(group, parsed, context, image_ap50)


def _od_length(group: Group, parsed: Sequence[ParsedCompletion], context: RewardContext) -> Values:
    """``od_map`` times a factor below 1 when there are more boxes than objects.

    Source: VLM-R1 (arXiv 2504.07615), ``odLength``: without the factor, policies fill images with boxes.
    Formula: mAP · min(1, N_true / N_found).
    Example: mAP 0.6 with 5 objects and 10 boxes: 0.6 · 5/10 = 0.3; with 3 boxes 0.6.
    Range: 0..1.
    """
    return _score_detections(group, parsed, context, ap_by_length)


def _od_weighted_sum(
    group: Group,
    parsed: Sequence[ParsedCompletion],
    context: RewardContext,
    *,
    position: Share = 0.7,
    completeness: Share = 0.3,
    threshold: Share = 0.5,
) -> Values:
    """A weighted sum of overlap and completeness. Boxes and objects are matched greedily, greatest overlap first.

    Source: VLM-R1 (arXiv 2504.07615), ``weighted_sum`` with its weights 0.7, 0.0, 0.3; the middle one, of labels, is
    0 there. A pair of different labels counts as overlap 0, and neither is matched again.
    Formula: 0.7 · ΣIoU / N_true + 0.3 · (1 - (missed / N_true + false / N_found) / 2), pairs of IoU ≥ 0.5.
    Example: 2 objects, 3 boxes, one pair of IoU 0.8: 0.7 · 0.4 + 0.3 · (1 - (0.5 + 0.6667) / 2) = 0.405.
    Range: 0..1, as long as the weights add up to 1 at most.
    """
    if position + completeness > 1:
        raise InputError("od_weighted_sum: position and completeness add up to more than 1", remedy="lower one")

    return _score_detections(
        group, parsed, context, lambda p, g: position_and_completeness(p, g, position, completeness, threshold)
    )


def _all_match(group: Group, parsed: Sequence[ParsedCompletion], context: RewardContext) -> Values:
    """1 if the answer equals the gold answer up to case, line breaks and stops at the end, for any task; else 0.

    Source: VLM-R1 (arXiv 2504.07615), ``all_match``, its reward for GUI tasks and several images. Its code also
    compares a text without an answer element (``all_match_released``).
    Formula: 1[cleaned(answer) = cleaned(gold)].
    Example: gold `Open Settings`, answer `open\\nsettings.`: 1.
    Range: 0 or 1.
    """
    gold = get_task(group.sample.task).reference_answer(group.sample)
    if gold is None:
        return [None] * len(parsed)
    target = cleaned(gold)
    return [float(p.answer is not None and len(p.answer) <= MAX_ANSWER and cleaned(p.answer) == target) for p in parsed]


def _text_ratio(group: Group, parsed: Sequence[ParsedCompletion], context: RewardContext) -> Values:
    """The character-level similarity of the answer and the gold answer, both cleaned as by ``all_match``.

    Source: VLM-R1 (arXiv 2504.07615), the fallback of its default accuracy. It gives partial credit, which suits
    transcription but not tasks with one right answer. Its code also compares a text without an answer element
    (``text_ratio_released``).
    Formula: 2 · (longest common subsequence) / (characters of both).
    Example: gold `cats`, answer `cat`: 6/7 = 0.857.
    Range: 0..1.
    """
    gold = get_task(group.sample.task).reference_answer(group.sample)
    if gold is None or len(gold) > MAX_ANSWER:
        return [None] * len(parsed)
    target, answers = cleaned(gold), (p.answer if p.answer and len(p.answer) <= MAX_ANSWER else None for p in parsed)
    return [0.0 if answer is None else fuzz.ratio(cleaned(answer), target) / 100 for answer in answers]


def cleaned(text: str) -> str:
    """A text as VLM-R1 compares it: unescaped, in lower case, without stops at its end; a line break is a space, or
    nothing behind white space.

    >>> cleaned("Open\\nSettings. \\n"), cleaned("a \\nb..")
    ('open settings', 'a b')
    """
    text = unescape(text)
    for line_break in "\n\r":
        text = re.sub(rf"(?<=\s){line_break}", "", text).replace(line_break, " ")
    return text.strip().rstrip(".").lower()


def greedy_pairs(overlaps: Array, threshold: float) -> list[tuple[int, int, float]]:
    """Pairs (box, object, overlap) by decreasing overlap down to the threshold; each box and object at most once."""
    pairs: list[tuple[int, int, float]] = []
    boxes, objects = np.ones(len(overlaps), bool), np.ones(overlaps.shape[1], bool)
    for flat in np.argsort(-overlaps, axis=None, kind="stable"):
        i, j = divmod(int(flat), overlaps.shape[1])
        if overlaps[i, j] < threshold or len(pairs) == min(overlaps.shape):
            break
        if boxes[i] and objects[j]:
            pairs.append((i, j, float(overlaps[i, j])))
            boxes[i] = objects[j] = False
    return pairs


def _score_detections(
    group: Group, parsed: Sequence[ParsedCompletion], context: RewardContext, score: Callable[[Boxes, Boxes], float]
) -> Values:
    """``score`` of each completion's boxes and the gold boxes, labels normalised."""
    return score_boxes(group, parsed, context, lambda p, g: score(normalize_labels(p), normalize_labels(g)))


def image_ap(predicted: Boxes, gold: Boxes, thresholds: Array = COCO_THRESHOLDS) -> float:
    """Average precision on one image; 1 without boxes and objects. Labels are compared literally."""
    if not len(predicted) or not len(gold):
        return float(len(predicted) == len(gold))
    return float(average_precision([predicted], [gold], thresholds=thresholds).mean())


def image_ap50(predicted: Boxes, gold: Boxes) -> float:
    """``image_ap`` at IoU 0.5 alone."""
    return image_ap(predicted, gold, COCO_THRESHOLDS[:1])


def ap_by_length(predicted: Boxes, gold: Boxes) -> float:
    """``image_ap`` times ``length_factor``."""
    return image_ap(predicted, gold) * length_factor(len(gold), len(predicted))


def position_and_completeness(
    predicted: Boxes, gold: Boxes, position: float = 0.7, completeness: float = 0.3, threshold: float = 0.5
) -> float:
    """The score of ``od_weighted_sum``; 1 without boxes and objects. Labels are compared literally."""
    if not len(predicted) or not len(gold):
        return float(len(predicted) == len(gold))
    pairs = greedy_pairs(iou_matrix(predicted.xyxy, gold.xyxy), threshold)
    overlap = sum(iou for i, j, iou in pairs if predicted.labels[i] == gold.labels[j])
    missed, false = 1 - len(pairs) / len(gold), 1 - len(pairs) / len(predicted)
    return position * overlap / len(gold) + completeness * (1 - (missed + false) / 2)


def length_factor(true: int, found: int) -> float:
    """The factor min(1, N_true / N_found); 1 without boxes.

    >>> length_factor(5, 10), length_factor(5, 3), length_factor(0, 0)
    (0.5, 1.0, 1.0)
    """
    return min(1.0, true / found) if found else 1.0


VLM_R1 = (
    Reward("rec_iou", (0.0, 1.0), _rec_iou),
    Reward("od_map", (0.0, 1.0), _od_map),
    Reward("od_map50", (0.0, 1.0), _od_map50),
    Reward("od_length", (0.0, 1.0), _od_length),
    Reward("od_weighted_sum", (0.0, 1.0), _od_weighted_sum),
    Reward("all_match", (0.0, 1.0), _all_match),
    Reward("text_ratio", (0.0, 1.0), _text_ratio),
)
