"""Rewards, by name. A new one is a new file and one line here."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from reasoner_rm.errors import InputError
from reasoner_rm.rewards.base import Reward
from reasoner_rm.rewards.listener_belief import LISTENER_BELIEF
from reasoner_rm.rewards.mix import mix, score_components
from reasoner_rm.rewards.rules import ACCURACY, FORMAT
from reasoner_rm.rows import sample_from_row
from reasoner_rm.schema import Completion, Group, RewardContext, Sample
from reasoner_rm.tasks import get_task

REWARDS: dict[str, Reward] = {r.name: r for r in (FORMAT, ACCURACY, LISTENER_BELIEF)}
PRESETS: dict[str, dict[str, float]] = {
    "listener": {"format": 1.0, "accuracy": 0.5, "listener_belief": 0.5},
}


def get_reward(name: str) -> Reward:
    """The component of that name.

    Raises:
        InputError: an unknown name, with the nearest known one.
    """
    if name not in REWARDS:
        raise _unknown(name, list(REWARDS))
    return REWARDS[name]


def resolve(spec: str | Mapping[str, float]) -> dict[str, float]:
    """Weights by component, from a preset's name, a component's name or a mapping.

    Raises:
        InputError: an unknown name.
    """
    if isinstance(spec, str):
        if spec in PRESETS:
            return dict(PRESETS[spec])
        if spec not in REWARDS:
            raise _unknown(spec, [*PRESETS, *REWARDS])
        return {spec: 1.0}
    return {get_reward(name).name: float(weight) for name, weight in spec.items()}


def score(
    name: str, text: str, sample: Sample | Mapping[str, Any], context: RewardContext | None = None
) -> dict[str, float | None]:
    """Score one text with a component or a preset: every component's value and their weighted sum as ``total``.

    >>> sample = {"id": "1", "task": "qa", "prompt": "2+2?", "gold": {"answer": "4", "kind": "number"}}
    >>> score("accuracy", "<think>two and two</think><answer>4</answer>", sample)
    {'accuracy': 1.0, 'total': 1.0}
    """
    row = sample if isinstance(sample, Sample) else sample_from_row(sample)
    task = get_task(row.task)
    task.check(row)
    weights = resolve(name)
    group = Group(row, (Completion(text, (), (), "stop"),))
    parsed = [task.parse(text, row)]
    components = score_components(weights, group, parsed, context or RewardContext())
    known = any(values[0] is not None for values in components.values())
    return {n: values[0] for n, values in components.items()} | {
        "total": mix(weights, components)[0] if known else None
    }


def _unknown(name: str, known: list[str]) -> InputError:
    near = difflib.get_close_matches(name, known, 1)
    return InputError(
        f"unknown reward {name!r}", remedy=f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
    )


__all__ = ["PRESETS", "REWARDS", "Reward", "get_reward", "mix", "resolve", "score", "score_components"]
