"""The two rules that every recipe has: is it well formed, is it right."""

from __future__ import annotations

from collections.abc import Sequence

from reasoner_rm.rewards.base import Reward, Values
from reasoner_rm.rewards.located import each
from reasoner_rm.schema import Group, Parsed, RewardContext
from reasoner_rm.tasks import get_task
from reasoner_rm.tasks.localisation import Localisation


def _format(group: Group, parsed: Sequence[Parsed], context: RewardContext) -> Values:
    """1 if the text is exactly one `<think>…</think>` and one readable answer container, else 0.

    Source: the strict form of UnifiedReward-Think's format reward (arXiv 2505.03318), which tolerates trailing text.
    Example: `<think>a</think><answer>Image 1 is better</answer>` earns 1, the same with a word after it 0.
    """
    return [float(p.well_formed) for p in parsed]


def _accuracy(group: Group, parsed: Sequence[Parsed], context: RewardContext) -> Values:
    """How right the last readable answer is, 0..1; 0 without one. None for all G when the gold is a tie.

    Example: gold p_first 1.0 and `Image 1 is better` earns 1, `Image 2 is better` 0; p_first 0.5 gives None.
    """
    task, sample = get_task(group.sample.task), group.sample
    if task.canonical(sample) is None:
        return [None] * len(parsed)
    if isinstance(task, Localisation):
        return each(group, parsed, context, task.score)
    return [0.0 if p.answer is None else task.correct(p.answer, sample) for p in parsed]


FORMAT = Reward("format", (0.0, 1.0), _format)
ACCURACY = Reward("accuracy", (0.0, 1.0), _accuracy)
