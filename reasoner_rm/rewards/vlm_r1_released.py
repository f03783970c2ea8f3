"""The accuracies of VLM-R1's released code (arXiv 2504.07615), which reads boxes and answers by rules of its own."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence

import numpy as np
from rapidfuzz import fuzz

from reasoner_rm.rewards.base import Reward, Values
from reasoner_rm.rewards.boxes import gold_boxes, in_original_pixels
from reasoner_rm.rewards.vlm_r1 import ap_by_length, cleaned, image_ap, image_ap50, position_and_completeness
from reasoner_rm.schema import Group, ParsedCompletion, RewardContext
from reasoner_rm.tasks import get_task
from reasoner_rm.tasks.boxes import MAX_BOXES, MAX_TEXT, Boxes
from reasoner_rm.tasks.parsing import first_element
from reasoner_rm.tasks.qa import MAX_ANSWER

BOX = re.compile(r"\[(\d+),\s*(\d+),\s*(\d+),\s*(\d+)]")
"""A box as its code finds one: whole numbers, white space behind the commas only."""
_ANSWER, _FENCE = re.compile("<answer>(.*?)</answer>", re.DOTALL), re.compile("```json(.*?)```", re.DOTALL)
_MAX_COORDINATE, _MAX_AREA = 1e9, 1e10


def _rec_iou_released(group: Group, parsed: Sequence[ParsedCompletion], context: RewardContext) -> Values:
    """The IoU of the first four whole numbers in brackets of the first answer with the gold box, in original pixels.

    An overlap of up to a pixel in either direction counts 0.

    Source: the released code of VLM-R1 (arXiv 2504.07615); ``rec_iou`` reads one box in JSON.
    Formula: |A ∩ B| / |A ∪ B|.
    Example: true [0, 0, 10, 10], answer `at [0, 0, 10, 5] or [0, 0, 9, 9]`: 0.5.
    Range: 0..1.
    """
    gold = gold_boxes(group.sample)
    if gold is None or len(gold) != 1:
        return [None] * len(parsed)
    values = []
    for completion in group.completions:
        found = BOX.search(first_element(completion.text, "answer") or "")
        corners = [] if found is None else [[float(number[:9]) for number in found.groups()]]
        boxes = in_original_pixels(Boxes(np.array(corners).reshape(-1, 4), ("",) * len(corners)), context)
        values.append(iou(boxes.xyxy[0].tolist(), gold.xyxy[0].tolist()) if corners else 0.0)
    return values


def iou(predicted: Sequence[float], gold: Sequence[float]) -> float:
    """IoU of two boxes; the far corner of the overlap is moved in by a pixel, and then counted with one more.

    >>> iou([0, 0, 10, 5], [0, 0, 10, 10]), iou([9, 0, 20, 10], [0, 0, 10, 10])
    (0.5, 0.0)
    """
    x1, y1 = max(predicted[0], gold[0]), max(predicted[1], gold[1])
    x2, y2 = min(predicted[2], gold[2]) - 1, min(predicted[3], gold[3]) - 1
    inner = (x2 - x1 + 1) * (y2 - y1 + 1) if x1 < x2 and y1 < y2 else 0.0
    areas = [(b[2] - b[0]) * (b[3] - b[1]) for b in (predicted, gold)]
    union = sum(areas) - inner
    return inner / union if union else 0.0


def _od_map_released(group: Group, parsed: Sequence[ParsedCompletion], context: RewardContext) -> Values:
    """As ``od_map``, of the last `json` fence in the last answer: any answer without boxes is right without objects.

    Entries that are no box with a label are skipped, and labels are compared literally.

    Source: the released code of VLM-R1 (arXiv 2504.07615), ``od_ap``.
    Formula: that of ``od_map``; 1 without entries and objects, 0 without one of both.
    Example: `<answer>no idea</answer>` earns 1 on an image without objects.
    Range: 0..1.
    """
    return _score_fences(group, context, image_ap)


def _od_map50_released(group: Group, parsed: Sequence[ParsedCompletion], context: RewardContext) -> Values:
    """As ``od_map_released``, at IoU 0.5 alone.

    Source: the released code of VLM-R1 (arXiv 2504.07615), ``od_ap50``.
    Formula: that of ``od_map50``.
    Example: 1 cube, a fence with `null` before the right box: 1.
    Range: 0..1.
    """
    return _score_fences(group, context, image_ap50)


def _od_length_released(group: Group, parsed: Sequence[ParsedCompletion], context: RewardContext) -> Values:
    """As ``od_map_released``, times a factor below 1 when there are more entries than objects, skipped ones too.

    Source: the released code of VLM-R1 (arXiv 2504.07615), ``odLength``.
    Formula: mAP · min(1, N_true / N_entries).
    Example: 1 cube, a fence with `null` before the right box: 0.5.
    Range: 0..1.
    """
    return _score_fences(group, context, ap_by_length)


def _od_weighted_sum_released(group: Group, parsed: Sequence[ParsedCompletion], context: RewardContext) -> Values:
    """As ``od_weighted_sum``, of the first `json` fence in the last answer, or in the whole text without one.

    Entries that are no box with a label overlap with nothing. Labels are compared without case. Without objects only
    `None` is right.

    Source: the released code of VLM-R1 (arXiv 2504.07615), ``weighted_sum``.
    Formula: that of ``od_weighted_sum`` with its defaults.
    Example: `<answer>None</answer>` earns 1 on an image without objects, an empty list 0.
    Range: 0..1.
    """
    gold = gold_boxes(group.sample)
    if gold is None:
        return [None] * len(parsed)
    answers = [cleaned(answer[:MAX_TEXT]) for answer in _answers(group)]
    if not len(gold):
        return [float(answer == "none") for answer in answers]
    lower = Boxes(gold.xyxy, tuple(label.lower() for label in gold.labels))
    fences = [_FENCE.search(answer) for answer in answers]
    found = [in_original_pixels(fenced_boxes(fence[1] if fence else ""), context) for fence in fences]
    return [position_and_completeness(boxes, lower) for boxes in found]


def _all_match_released(group: Group, parsed: Sequence[ParsedCompletion], context: RewardContext) -> Values:
    """As ``all_match``; a text without an answer element is itself the answer.

    Source: the released code of VLM-R1 (arXiv 2504.07615), ``all_match``.
    Formula: 1[cleaned(last answer, or else the text) = cleaned(gold)].
    Example: gold `Open Settings`, the bare text `open settings`: 1.
    Range: 0 or 1.
    """
    return _score_answers(group, lambda answer, gold: float(answer == gold))


def _text_ratio_released(group: Group, parsed: Sequence[ParsedCompletion], context: RewardContext) -> Values:
    """As ``text_ratio``; a text without an answer element is itself the answer.

    Source: the released code of VLM-R1 (arXiv 2504.07615), the fallback of its default accuracy. A gold answer that
    ends in a Latin letter on its own (`i`, `ét`) is a choice there, which is the task's to grade here.
    Formula: 2 · (longest common subsequence) / (characters of both).
    Example: gold `cats`, the bare text `cat`: 6/7 = 0.857.
    Range: 0..1.
    """
    return _score_answers(group, lambda answer, gold: fuzz.ratio(answer, gold) / 100)


def last_answer(text: str) -> str | None:
    """The content of the last answer element, which begins behind the one before; None without one. Linear time.

    >>> last_answer("<answer>a</answer> <answer>b <answer>c</answer>"), last_answer("<answer>a")
    ('b <answer>c', None)
    """
    found = _ANSWER.findall(text, 0, text.rfind("</answer>") + len("</answer>"))
    return found[-1] if found else None


def fenced_boxes(text: str) -> Boxes:
    """A box for each entry of the JSON list in a fence; none where it is no list.

    An entry's first four numbers count, in any order of the corners. An entry that is no box with a label is an empty
    box without a label. ``MAX_BOXES`` entries of at most ``MAX_TEXT`` characters are read.
    """
    try:
        entries = list(json.loads(text[:MAX_TEXT].strip()))[:MAX_BOXES]
    except (ValueError, TypeError, RecursionError):
        entries = []
    pairs = [_box(entry) for entry in entries]
    xyxy = np.array([corners for corners, _ in pairs], dtype=np.float64).reshape(-1, 4)
    return Boxes(xyxy, tuple(label for _, label in pairs))


def _box(entry: object) -> tuple[list[float], str]:
    match entry:
        case {"bbox_2d": [x1, y1, x2, y2, *_], "label": str(label)} if all(map(_is_coordinate, (x1, y1, x2, y2))):
            return [float(x1), float(y1), float(x2), float(y2)], label
    return [0.0] * 4, ""


def _is_coordinate(value: object) -> bool:
    return isinstance(value, (int, float)) and abs(value) <= _MAX_COORDINATE  # NaN compares false


def _score_fences(group: Group, context: RewardContext, score: Callable[[Boxes, Boxes], float]) -> Values:
    """``score`` of the boxes in the last fence of each completion's last answer; 0 without an answer."""
    gold = gold_boxes(group.sample)
    if gold is None:
        return [None] * len(group.completions)
    values = []
    for answer in (last_answer(completion.text) for completion in group.completions):
        fences = _FENCE.findall(answer or "")
        boxes = in_original_pixels(_countable(fenced_boxes(fences[-1] if fences else "")), context)
        values.append(0.0 if answer is None else score(boxes, gold))
    return values


def _countable(boxes: Boxes) -> Boxes:
    """Boxes of areas that COCO does not count without a label, so that they are no false ones."""
    areas = (boxes.xyxy[:, 2:] - boxes.xyxy[:, :2]).prod(-1)
    counted = (areas >= 0) & (areas <= _MAX_AREA)
    return Boxes(boxes.xyxy, tuple(label if c else "" for label, c in zip(boxes.labels, counted, strict=True)))


def _answers(group: Group) -> list[str]:
    """Each completion's last answer, or else its text."""
    answers = (last_answer(completion.text) for completion in group.completions)
    return [c.text if a is None else a for c, a in zip(group.completions, answers, strict=True)]


def _score_answers(group: Group, score: Callable[[str, str], float]) -> Values:
    """``score`` of each completion's cleaned answer and the gold answer; 0 for a long one."""
    gold = get_task(group.sample.task).reference_answer(group.sample)
    if gold is None or len(gold) > MAX_ANSWER:
        return [None] * len(group.completions)
    target = cleaned(gold)
    return [score(cleaned(a), target) if len(a) <= MAX_ANSWER else 0.0 for a in _answers(group)]


VLM_R1_RELEASED = (
    Reward("rec_iou_released", (0.0, 1.0), _rec_iou_released, custom_parser=True),
    Reward("od_map_released", (0.0, 1.0), _od_map_released, custom_parser=True),
    Reward("od_map50_released", (0.0, 1.0), _od_map50_released, custom_parser=True),
    Reward("od_length_released", (0.0, 1.0), _od_length_released, custom_parser=True),
    Reward("od_weighted_sum_released", (0.0, 1.0), _od_weighted_sum_released, custom_parser=True),
    Reward("all_match_released", (0.0, 1.0), _all_match_released, custom_parser=True),
    Reward("text_ratio_released", (0.0, 1.0), _text_ratio_released, custom_parser=True),
)
