"""Components into one number, and what None means."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TypeAlias

Components: TypeAlias = Mapping[str, tuple[float | None, ...]]


def weighted_sum(weights: Mapping[str, float], components: Components) -> tuple[float, ...]:
    """The weighted sum per completion.

    A component that is None for all G is dropped for the group; where it is None for some, those take the group's
    mean of it, so that nobody gains or loses by being unscorable. It is never zero.
    """
    size = len(next(iter(components.values())))
    totals = [0.0] * size
    for name, weight in weights.items():
        filled = _filled(components[name])
        if filled is not None:
            totals = [t + weight * v for t, v in zip(totals, filled, strict=True)]
    return tuple(totals)


def decoupled_sum(weights: Mapping[str, float], components: Components, eps: float = 1e-4) -> tuple[float, ...]:
    """The weighted sum of components that were normalised within the group first, so that a rare one is not drowned.

    Source: GDPO (arXiv 2601.05242), which also normalises over the batch; here the group's advantage does that.
    Formula: Σ w · (value - mean) / (std + eps), std with ddof=1; equal values add 0.

    >>> [round(v, 3) for v in decoupled_sum({"a": 1, "b": 1}, {"a": (1.0, 0.0), "b": (0.9, 1.0)}, eps=0.0)]
    [0.0, 0.0]
    """
    return weighted_sum(weights, {name: _normalised(values, eps) for name, values in components.items()})


def pareto_front(weights: Mapping[str, float], components: Components) -> tuple[bool, ...]:
    """Which completions no other one beats: as good in every component of some weight, and better in one.

    Source: Parrot (arXiv 2401.05675), whose updates see the non-dominated samples of a prompt alone.

    >>> pareto_front({"a": 1.0, "b": 0.5}, {"a": (1.0, 0.0, 0.0), "b": (0.0, 1.0, 0.0)})
    (True, True, False)
    """
    size = len(next(iter(components.values())))
    rows = [(weight, filled) for name, weight in weights.items() if weight and (filled := _filled(components[name]))]
    points = [tuple(values[i] if weight > 0 else -values[i] for weight, values in rows) for i in range(size)]
    return tuple(
        not any(all(o >= m for o, m in zip(other, mine, strict=True)) and other != mine for other in points)
        for mine in points
    )


def has_variance(components: Components, name: str = "accuracy", epsilon: float = 1e-3) -> bool:
    """Whether a group differs in one component by more than ``epsilon``: the filter of dynamic sampling.

    It looks at accuracy rather than at the total: a continuous term such as a listener's belief would let groups pass
    that are wrong throughout. A component that could not be scored does not speak against a group.

    >>> has_variance({"accuracy": (0.0, 0.0), "listener_belief": (0.2, 0.7)})
    False
    """
    known = [v for v in components.get(name, ()) if v is not None]
    return not known or max(known) - min(known) > epsilon


def _filled(values: Sequence[float | None]) -> tuple[float, ...] | None:
    """None replaced by the mean of the others; None where nothing is known."""
    known = [v for v in values if v is not None]
    if not known:
        return None
    mean = math.fsum(known) / len(known)
    return tuple(mean if v is None else v for v in values)


def _normalised(values: Sequence[float | None], eps: float) -> tuple[float | None, ...]:
    known = [v for v in values if v is not None]
    if len(set(known)) < 2:
        return tuple(None if v is None else 0.0 for v in values)
    mean = math.fsum(known) / len(known)
    spread = math.sqrt(math.fsum((v - mean) ** 2 for v in known) / (len(known) - 1)) + eps
    return tuple(None if v is None else (v - mean) / spread for v in values)
