"""UnifiedReward-Think's rewards (arXiv 2505.03318), and a check of the arithmetic in its thoughts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from reasoner_rm.rewards.base import Reward, Values
from reasoner_rm.rewards.format import has_layout
from reasoner_rm.schema import PAIRWISE_TASKS, Group, ParsedCompletion, RewardContext
from reasoner_rm.tasks import get_task
from reasoner_rm.tasks.parsing import first_element

MAX_THOUGHT = 20_000
"""The scores of longer thoughts are not parsed, in characters."""
_POINTS = r"(\d{1,3}(?:\.\d{1,2})?)"


def _unified_think_released(group: Group, parsed: Sequence[ParsedCompletion], context: RewardContext) -> Values:
    """Format plus accuracy as in the released code, which takes the first answer, or the whole text without one.

    Source: the released code of UnifiedReward-Think (arXiv 2505.03318); its paper's form is ``unified_think``.
    Formula: 1[begins with a thought and an answer] + 1[first answer, or else the whole text, is the verdict].
    Example: the bare text `Image 1 is better` earns 1 where that is right; in tags after a thought 2.
    Range: 0..2.
    """
    gold = get_task(group.sample.task).reference_answer(group.sample)
    if gold is None:
        return [None] * len(parsed)
    answers = (first_element(c.text, "answer") for c in group.completions)
    return [
        float(has_layout(c.text, "answer", True)) + float((c.text if answer is None else answer).strip() == gold)
        for c, answer in zip(group.completions, answers, strict=True)
    ]


@dataclass(frozen=True, slots=True)
class StatedScores:
    """The scores of two candidates in a thought: points by dimension, the terms of the sums, and the totals."""

    points: tuple[tuple[float, ...], tuple[float, ...]]
    sums: tuple[tuple[float, ...], tuple[float, ...]]
    totals: tuple[float, float]

    @property
    def adds_up(self) -> bool:
        """Whether each total is the sum of its dimensions' points, and of the terms in its sum."""
        return all(
            len(points) > 0 and abs(sum(points) - total) < 1e-6 and (not terms or terms == points)
            for points, terms, total in zip(self.points, self.sums, self.totals, strict=True)
        )


def _score_arithmetic(group: Group, parsed: Sequence[ParsedCompletion], context: RewardContext) -> Values:
    """1 if the thought's points add up to its totals and the greater total is the verdict's; 0.5 for one of the two.

    Source: this project's check of the layout that UnifiedReward-Think (arXiv 2505.03318) asks for; whether its own
    rejection sampling checked this is not known.
    Formula: 0.5 · 1[Σ points = total, for both] + 0.5 · 1[the verdict has the greater total].
    Example: `Image 1 (9/10) … Image 2 (7/10) … Image 1: 9+8=17, Image 2: 7+8=15` and verdict 1 earns 1 if the other
    dimension gave 8 and 8.
    Range: 0..1.
    """
    kind = PAIRWISE_TASKS.get(group.sample.task)
    if kind is None:
        return [None] * len(parsed)
    task, values = get_task(group.sample.task), []
    for p in parsed:
        scores = None if p.thinking is None else parse_scores(p.thinking, kind.noun)
        if scores is None or p.answer is None:
            values.append(0.0)
            continue
        best = None if scores.totals[0] == scores.totals[1] else int(scores.totals[1] > scores.totals[0])
        values.append(
            0.5 * scores.adds_up + 0.5 * (best is not None and best == task.option_index(p.answer, group.sample))
        )
    return [*values]


def parse_scores(thought: str, noun: str) -> StatedScores | None:
    """The scores in a thought, in any order of the candidates; None unless there is a total for each.

    >>> parse_scores("1. Style: Image 2 (7/10) - plain; Image 1 (9/10) - rich. Image 1: 9=9 Image 2: 7", "Image")
    StatedScores(points=((9.0,), (7.0,)), sums=((9.0,), ()), totals=(9.0, 7.0))
    """
    if len(thought) > MAX_THOUGHT:
        return None
    points: tuple[list[float], list[float]] = ([], [])
    for which, value in re.findall(rf"\b{noun} ([12]) ?\({_POINTS} ?/ ?10\)", thought, flags=re.ASCII):
        points[int(which) - 1].append(float(value))
    totals: dict[int, tuple[tuple[float, ...], float]] = {}
    pattern = rf"\b{noun} ([12]): ?((?:{_POINTS} ?[+=] ?){{0,12}}){_POINTS}(?![\d./])"
    for which, terms, _, total in re.findall(pattern, thought, flags=re.ASCII):
        totals[int(which) - 1] = (tuple(float(t) for t in re.findall(_POINTS, terms)), float(total))
    if len(totals) != 2:
        return None
    return StatedScores(
        (tuple(points[0]), tuple(points[1])), (totals[0][0], totals[1][0]), (totals[0][1], totals[1][1])
    )


UNIFIED_THINK = (
    Reward("unified_think_released", (0.0, 2.0), _unified_think_released, custom_parser=True),
    Reward("score_arithmetic", (0.0, 1.0), _score_arithmetic),
)
