"""Rewards: pure functions of a group, by name, combined by weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reasoner_rm.rewards.aggregate import decoupled_sum, has_variance, pareto_front, weighted_sum
from reasoner_rm.rewards.base import Reward
from reasoner_rm.rewards.explain import explain
from reasoner_rm.rewards.registry import REWARDS, get_reward
from reasoner_rm.rewards.scoring import score_components, score_groups
from reasoner_rm.rewards.spec import PRESETS, WeightedReward, parse_spec, weights
from reasoner_rm.schema import RewardContext, Sample


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

    Raises:
        InputError: an unknown name or parameter, a sample that its task cannot use, a scorer that is missing.

    >>> sample = {"id": "1", "task": "qa", "prompt": "2+2?", "gold": {"answer": "4", "kind": "number"}}
    >>> score("accuracy", "<think>two and two</think><answer>4</answer>", sample)
    {'accuracy': 1.0, 'total': 1.0}
    """
    breakdown = explain(name, text, sample, context, params)
    return {**breakdown.components, "total": breakdown.total}


__all__ = [
    "PRESETS",
    "REWARDS",
    "Reward",
    "WeightedReward",
    "decoupled_sum",
    "get_reward",
    "has_variance",
    "pareto_front",
    "parse_spec",
    "score",
    "score_components",
    "score_groups",
    "weighted_sum",
    "weights",
]  # fmt: skip
