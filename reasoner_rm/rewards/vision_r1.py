"""Vision-R1's rewards for localisation (arXiv 2503.18013): dual format, box recall, box precision."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from scipy.optimize import linear_sum_assignment

from reasoner_rm.config import Count, Share
from reasoner_rm.rewards.base import Result, Reward, RewardOutput, Values
from reasoner_rm.rewards.boxes import gold_boxes, in_original_pixels, predicted_boxes
from reasoner_rm.rewards.released_boxes import is_released_format, released_boxes, released_label
from reasoner_rm.schema import Group, ParsedCompletion, RewardContext
from reasoner_rm.tasks.boxes import Array, Boxes, iou_matrix, parse_boxes
from reasoner_rm.tasks.qa import normalise

Overlap = Literal["iou", "giou"]
Thresholds = tuple[float, float, float]
"""ξ0: the least IoU of a found object; ξ1: below it a share counts 0; ξ2: from it on a share counts 1."""

BEGINNER: Thresholds = (0.5, 0.5, 0.75)
ADVANCED: Thresholds = (0.75, 0.75, 0.9)


def _dual_format(group: Group, parsed: Sequence[ParsedCompletion], context: RewardContext) -> Values:
    """1 if the answer, bare or in its container, is a list of valid boxes; on an image without objects, if it is `[]`.

    Where the image's size is known, boxes must lie within it, up to a pixel of rounding.

    Source: Vision-R1 (arXiv 2503.18013), which checks template and content together; on negative samples it inverts
    the reward, so that any text without boxes earns 1 (``dual_format_released``).
    Formula: template · content.
    Example: `[{"bbox_2d": [0, 0, 5, 5], "label": "cube"}]` earns 1 where there is a cube and 0 where there is none.
    Range: 0 or 1.
    """
    gold = gold_boxes(group.sample)
    if gold is None:
        return [None] * len(parsed)
    return [
        float(boxes is not None and bool(len(boxes)) == bool(len(gold)) and _inside(boxes, context))
        for boxes in _predicted(group, parsed, context)
    ]


def _dual_format_released(group: Group, parsed: Sequence[ParsedCompletion], context: RewardContext) -> Values:
    """1 if the whole text is JSON whose boxes have 4 coordinates; inverted on images without objects.

    There any text that is no JSON earns 1. JSON without boxes (`5`, `{}`, `[]`) has the format, and an answer in tags
    does not.

    Source: the released code of Vision-R1 (arXiv 2503.18013).
    Formula: 1[JSON, boxes of 4 coordinates], or 1 - that without objects.
    Example: `none here` earns 1 on an image without objects, `[]` earns 0.
    Range: 0 or 1.
    """
    gold = gold_boxes(group.sample)
    if gold is None:
        return [None] * len(parsed)
    return [float(is_released_format(c.text) == bool(len(gold))) for c in group.completions]


def _box_recall(
    group: Group,
    parsed: Sequence[ParsedCompletion],
    context: RewardContext,
    *,
    overlap: Overlap = "iou",
    released: bool = False,
    beginner: Thresholds = BEGINNER,
    advanced: Thresholds = ADVANCED,
    switch_step: Count | None = None,
    switch_share: Share | None = None,
    switch_cleared: Share | None = None,
) -> Result:
    """The share of objects matched by a box, mapped by thresholds.

    Boxes and objects are matched by the Hungarian algorithm; a pair of different labels counts as IoU 0. Without boxes
    and objects: 1. The share itself is logged as ``vision_r1/recall``.

    Source: Vision-R1 (arXiv 2503.18013). Qwen2.5-VL did best with one stage, the default.
    Formula: f(#(matched, IoU ≥ ξ0) / #objects), f(x) = 1 from ξ2 on, 0 below ξ1, else x.
    Example: 4 objects, matched IoUs 0.9, 0.6, 0.4: 2/4 at ξ0 0.5, f 0.5; at ξ0 0.75 1/4, f 0.
    Range: 0..1.

    Args:
        overlap: the paper's IoU or the code's GIoU.
        released: the released code's reading: entries that are no box are skipped, boxes in prose are found, a text
            without any has none; a pair of different labels counts with its overlap; f is 1 above ξ2, not at it.
        beginner, advanced: (ξ0, ξ1, ξ2) of the two stages; (0.5, 0, 1) gives the plain share.
        switch_step, switch_share: the step, or the share of training, at which the second stage begins.
        switch_cleared: the second stage begins once the running recall and precision have both reached this.
    """
    second = _switched(context, switch_step, switch_share, switch_cleared)
    min_overlap, low, high = advanced if second else beginner

    def score(boxes: Boxes, gold: Boxes) -> tuple[float, float]:
        if not len(gold):
            return (float(not len(boxes)),) * 2
        share = float((_matched(boxes, gold, overlap, released) >= min_overlap).sum() / len(gold))
        return share, share if released and share == high else differentiated(share, low, high)

    return _score_pairs(group, parsed, context, score, "vision_r1/recall", released)


def _box_precision(
    group: Group,
    parsed: Sequence[ParsedCompletion],
    context: RewardContext,
    *,
    over: Literal["all", "matched"] = "all",
    overlap: Overlap = "iou",
    released: bool = False,
    beginner: Thresholds = BEGINNER,
    advanced: Thresholds = ADVANCED,
    switch_step: Count | None = None,
    switch_share: Share | None = None,
    switch_cleared: Share | None = None,
) -> Result:
    """How well boxes fit the objects that they are matched with, differentiated per box, on average over boxes.

    ``matched``: on average over the pairs, so that superfluous boxes are free. Logged before differentiation, over
    all boxes, as ``vision_r1/precision``. The other parameters are those of ``box_recall``.

    Source: Vision-R1 (arXiv 2503.18013). Its text leaves open what the average is over; its code takes the pairs.
    Formula: Σ f(IoU) / #boxes, f(x) = 1 from ξ2 on, 0 below ξ1, else x; IoUs below ξ0 count 0.
    Example: 3 boxes, IoUs 0.9, 0.6, 0.4: (1 + 0.6 + 0) / 3 = 0.5333.
    Range: 0..1.
    """
    second = _switched(context, switch_step, switch_share, switch_cleared)
    min_overlap, low, high = advanced if second else beginner

    def score(boxes: Boxes, gold: Boxes) -> tuple[float, float]:
        if not len(boxes) or not len(gold):
            return (float(len(boxes) == len(gold)),) * 2
        fits = [fit if fit >= min_overlap else 0.0 for fit in _matched(boxes, gold, overlap, released).tolist()]
        mapped = [differentiated(fit, low, high) for fit in fits]
        return sum(fits) / len(boxes), sum(mapped) / (len(boxes) if over == "all" else len(fits))

    return _score_pairs(group, parsed, context, score, "vision_r1/precision", released)


def differentiated(x: float, low: float, high: float) -> float:
    """Vision-R1's mapping of a share: 0 below ``low``, 1 from ``high`` on, unchanged between them.

    >>> [differentiated(x, 0.5, 0.75) for x in (0.49, 0.5, 0.6, 0.75, 0.8)]
    [0.0, 0.5, 0.6, 1.0, 1.0]
    """
    return 1.0 if x >= high else 0.0 if x < low else x


def matching(boxes: Boxes, gold: Boxes, overlap: Overlap = "iou", released: bool = False) -> tuple[Array, Array]:
    """The min(N, M) pairs of box and object of least total cost: indices of boxes, and of objects.

    A pair's cost is the L1 distance of the corners in pixels, less 1 for the same label and less the overlap, so that
    label and overlap only break ties.
    """
    distance = np.abs(boxes.xyxy[:, None] - gold.xyxy).sum(-1)
    same = _same_label(boxes, gold, released)
    return linear_sum_assignment(distance - same - overlaps(boxes.xyxy, gold.xyxy, overlap))  # type: ignore[no-any-return]


def overlaps(a: Array, b: Array, kind: Overlap) -> Array:
    """IoU [N, M], or GIoU: IoU less the share of the enclosing box that neither covers; -1..1."""
    if kind == "iou":
        return iou_matrix(a, b)
    area_a, area_b = ((x[:, 2:] - x[:, :2]).prod(-1) for x in (a, b))
    shared = (np.minimum(a[:, None, 2:], b[:, 2:]) - np.maximum(a[:, None, :2], b[:, :2])).clip(min=0).prod(-1)
    union = area_a[:, None] + area_b - shared
    enclosing = (np.maximum(a[:, None, 2:], b[:, 2:]) - np.minimum(a[:, None, :2], b[:, :2])).prod(-1)
    return np.asarray(shared / union - (enclosing - union) / enclosing)


def _same_label(boxes: Boxes, gold: Boxes, released: bool) -> Array:
    same = released_label if released else normalise
    labels, gold_labels = (np.array([same(label) for label in b.labels], dtype=object) for b in (boxes, gold))
    return np.asarray(labels[:, None] == gold_labels, dtype=np.float64)


def _matched(boxes: Boxes, gold: Boxes, overlap: Overlap, released: bool) -> Array:
    """The overlap of each matched pair, clipped to 0..1; 0 where the labels differ, except in the released form."""
    if not len(boxes) or not len(gold):
        return np.zeros(0)
    pairs = matching(boxes, gold, overlap, released)
    fits = overlaps(boxes.xyxy, gold.xyxy, overlap)
    fits = fits if released else fits * _same_label(boxes, gold, released)
    return np.asarray(fits[pairs].clip(0.0, 1.0))


def _predicted(
    group: Group, parsed: Sequence[ParsedCompletion], context: RewardContext, released: bool = False
) -> list[Boxes | None]:
    """The boxes of each completion: of its answer, or of a text that is only a list of boxes."""
    if released:
        return [in_original_pixels(released_boxes(c.text), context) for c in group.completions]
    return [
        predicted_boxes(p if p.answer is not None else _parse_bare(c.text), group.sample, context)
        for c, p in zip(group.completions, parsed, strict=True)
    ]


def _inside(boxes: Boxes, context: RewardContext) -> bool:
    if not context.image_sizes:
        return True
    (width, height), _ = context.image_sizes[0]
    return bool((boxes.xyxy >= -1).all() and (boxes.xyxy <= np.array((width, height) * 2) + 1).all())


def _parse_bare(text: str) -> ParsedCompletion:
    return ParsedCompletion(None, text if parse_boxes(text) is not None else None, False)


def _score_pairs(
    group: Group,
    parsed: Sequence[ParsedCompletion],
    context: RewardContext,
    score: Callable[[Boxes, Boxes], tuple[float, float]],
    metric: str,
    released: bool,
) -> Result:
    """``score`` of each completion's boxes: the second value is the reward, the first a metric."""
    gold = gold_boxes(group.sample)
    if gold is None:
        return [None] * len(parsed)
    predicted = _predicted(group, parsed, context, released)
    pairs = [(0.0, 0.0) if boxes is None else score(boxes, gold) for boxes in predicted]
    return RewardOutput([reward for _, reward in pairs], metrics={metric: [raw for raw, _ in pairs]})


def _switched(context: RewardContext, step: int | None, share: float | None, cleared: float | None) -> bool:
    """Whether any condition for the second stage is met."""
    best = [context.best_means.get(f"vision_r1/{name}", 0.0) for name in ("recall", "precision")]
    return (
        (step is not None and context.step >= step)
        or (share is not None and context.progress >= share)
        or (cleared is not None and min(best) >= cleared)
    )


VISION_R1 = (
    Reward("dual_format", (0.0, 1.0), _dual_format, custom_parser=True),
    Reward("dual_format_released", (0.0, 1.0), _dual_format_released, custom_parser=True),
    Reward("box_recall", (0.0, 1.0), _box_recall, custom_parser=True),
    Reward("box_precision", (0.0, 1.0), _box_precision, custom_parser=True),
)
