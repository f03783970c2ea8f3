"""Rewards: pure functions of a group, by name, mixed by weight."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reasoner_rm.rewards.base import Reward
from reasoner_rm.rewards.mix import mix, score_components
from reasoner_rm.rewards.mixture import PRESETS, Term, resolve, weights
from reasoner_rm.rewards.registry import REWARDS, get_reward
from reasoner_rm.rows import sample_from_row
from reasoner_rm.schema import Completion, Group, RewardContext, Sample
from reasoner_rm.tasks import get_task


def score(
    name: str,
    text: str,
    sample: Sample | Mapping[str, Any],
    context: RewardContext | None = None,
    **params: Any,
) -> dict[str, float | None]:
    """Score one text with a component or a preset: every component's value and their weighted sum as ``total``.

    Args:
        params: parameters of the components.

    >>> sample = {"id": "1", "task": "qa", "prompt": "2+2?", "gold": {"answer": "4", "kind": "number"}}
    >>> score("accuracy", "<think>two and two</think><answer>4</answer>", sample)
    {'accuracy': 1.0, 'total': 1.0}
    """
    row = sample if isinstance(sample, Sample) else sample_from_row(sample)
    task = get_task(row.task)
    task.check(row)
    mixture, context = resolve(name, params), context or RewardContext()
    group = Group(row, (Completion(text, (), (), "stop"),))
    components = score_components(mixture, group, [task.parse(text, row)], context)
    known = any(values[0] is not None for values in components.values())
    total = mix(weights(mixture, context.step), components)[0] if known else None
    return {n: values[0] for n, values in components.items()} | {"total": total}


__all__ = [
    "PRESETS", "REWARDS", "Reward", "Term", "get_reward", "mix", "resolve", "score", "score_components", "weights",
]  # fmt: skip
