"""Correctness of the answer: by the task's grading, by soft labels, or by exact match."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from reasoner_rm.rewards.base import Reward, Values
from reasoner_rm.rewards.boxes import score_boxes
from reasoner_rm.schema import Group, ParsedCompletion, RewardContext
from reasoner_rm.tasks import get_task
from reasoner_rm.tasks.box_task import Localisation
from reasoner_rm.tasks.preference import Preference


def _accuracy(
    group: Group,
    parsed: Sequence[ParsedCompletion],
    context: RewardContext,
    *,
    soft: bool = False,
    ties: Literal["skip", "half"] = "skip",
    exact: bool = False,
) -> Values:
    """The correctness of the last readable answer, by the task's grading; 0 without one.

    A preference is right when it agrees with the majority; with ``soft`` it earns the share of raters who agree.
    Where the gold is a tie, ``skip`` gives None for all G and ``half`` gives any readable verdict 0.5. ``exact``
    compares with the reference answer literally. Boxes are compared in original pixels.

    Source: the rule reward of every recipe here; ``exact`` is UnifiedReward-Think's (arXiv 2505.03318), ``soft`` this
    project's reading of the soft labels of arXiv 2503.19948, whose formula is not known.
    Formula: 1[answer = gold]; soft: p(answer); boxes: F1 at IoU 0.5, or 1[IoU > 0.5].
    Example: gold p_first 0.75: `Image 1 is better` earns 1, `Image 2 is better` 0; soft 0.75 and 0.25.
    Range: 0..1.
    """
    task, sample = get_task(group.sample.task), group.sample
    if isinstance(task, Preference):
        p = task.p_first(sample)
        if p is not None and (soft or (p == 0.5 and ties == "half")):
            choices = (None if a.answer is None else task.parse_answer(a.answer, sample) for a in parsed)
            return [0.0 if choice is None else (p, 1 - p)[choice] for choice in choices]
    reference = task.reference_answer(sample)
    if reference is None:
        return [None] * len(parsed)
    if exact:
        return [float(p.answer == reference) for p in parsed]
    if isinstance(task, Localisation):
        return score_boxes(group, parsed, context, task.score)
    return [0.0 if p.answer is None else grade for p, grade in zip(parsed, task.grades(parsed, sample), strict=True)]


def _hard_format_result(group: Group, parsed: Sequence[ParsedCompletion], context: RewardContext) -> Values:
    """1 if the text is well formed and its answer entirely right, else 0: the format alone earns nothing.

    Source: Vision-R1, reasoning (arXiv 2503.06749), "hard formatting result reward". A completion cut off at
    the length limit is malformed, so it earns 0.
    Formula: format · 1[accuracy = 1].
    Example: `<think>a</think><answer>7</answer>` to gold 7 earns 1; `<answer>7</answer>` alone 0.
    Range: 0 or 1.
    """
    accuracy = _accuracy(group, parsed, context)
    return [None if a is None else float(p.well_formed and a == 1.0) for p, a in zip(parsed, accuracy, strict=True)]


ACCURACY = Reward("accuracy", (0.0, 1.0), _accuracy)
HARD = Reward("hard_format_result", (0.0, 1.0), _hard_format_result)
