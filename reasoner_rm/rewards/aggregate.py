"""Aggregation of reward components: weighted sum, decoupled sum, Pareto front, and the treatment of None."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TypeAlias

Components: TypeAlias = Mapping[str, tuple[float | None, ...]]


def weighted_sum(weights: Mapping[str, float], components: Components) -> tuple[float, ...]:
    """The weighted sum per completion.

    A component that is None for all G is dropped for the group. Where it is None for some, they get the group's mean of
    it, so that a missing value neither raises nor lowers the total.
    """
    size = len(next(iter(components.values())))
    totals = [0.0] * size
    for name, weight in weights.items():
        filled = _filled(components[name])
        if filled is not None:
            totals = [t + weight * v for t, v in zip(totals, filled, strict=True)]
    return tuple(totals)


def decoupled_sum(weights: Mapping[str, float], components: Components, eps: float = 1e-4) -> tuple[float, ...]:
    """The weighted sum of components normalised within the group, so that components of small variance count equally.

    Source: GDPO (arXiv 2601.05242), which also normalises over the batch; here the advantage normalises over the group.
    Formula: Σ w · (value - mean) / (std + eps), std with ddof=1; equal values add 0.

    >>> [round(v, 3) for v in decoupled_sum({"a": 1, "b": 1}, {"a": (1.0, 0.0), "b": (0.9, 1.0)}, eps=0.0)]
    [0.0, 0.0]
    """
    return weighted_sum(weights, {name: _normalised(values, eps) for name, values in components.items()})


def pareto_front(weights: Mapping[str, float], components: Components) -> tuple[bool, ...]:
    """Whether each completion is Pareto-optimal: no other is at least as good in every weighted component and better in
    one.

    Source: Parrot (arXiv 2401.05675), which trains on the non-dominated samples of a prompt only.

    >>> pareto_front({"a": 1.0, "b": 0.5}, {"a": (1.0, 0.0, 0.0), "b": (0.0, 1.0, 0.0)})
    (True, True, False)
    """
    size = len(next(iter(components.values())))
    rows = [(weight, filled) for name, weight in weights.items() if weight and (filled := _filled(components[name]))]
    points = [tuple(values[i] if weight > 0 else -values[i] for weight, values in rows) for i in range(size)]
    return tuple(
        not any(all(o >= p for o, p in zip(other, point, strict=True)) and other != point for other in points)
        for point in points
    )


def has_variance(components: Components, name: str = "accuracy", epsilon: float = 1e-3) -> bool:
    """Whether a group differs in one component by more than ``epsilon``: the filter of dynamic sampling.

    It uses accuracy and not the total, because a continuous term such as a listener's belief varies even when every
    answer is wrong. A component without any value does not exclude a group.

    >>> has_variance({"accuracy": (0.0, 0.0), "listener_belief": (0.2, 0.7)})
    False
    """
    scored = [v for v in components.get(name, ()) if v is not None]
    return not scored or max(scored) - min(scored) > epsilon


def shrink_by_spread(
    values: Sequence[float | None], spreads: Sequence[float | None], scale: float
) -> Sequence[float | None]:
    """Each value moved towards the group's mean by the spread of its readings, so that uncertain values weigh less.

    Source: Ctrl-U (arXiv 2410.11236), which weights a reward's loss by exp(-U), U the difference between two readings
    of the same condition. GRPO has no loss per reward, so the distance from the mean is weighted instead.
    Formula: mean + exp(-spread / scale) · (value - mean).

    Args:
        values: [G]; None stays None and is not part of the mean.
        spreads: [G] the difference between a value's readings; None: unknown, the value is unchanged.
        scale: the spread at which 1/e of the distance is left.

    >>> shrink_by_spread([1.0, 0.0], [0.0, math.log(2)], 1.0)
    [1.0, 0.25]
    """
    scored = [v for v in values if v is not None]
    if not scored:
        return values
    mean = math.fsum(scored) / len(scored)
    return [
        v if v is None or spread is None else mean + math.exp(-spread / scale) * (v - mean)
        for v, spread in zip(values, spreads, strict=True)
    ]


def _filled(values: Sequence[float | None]) -> tuple[float, ...] | None:
    """None replaced by the mean of the others; None when all are None."""
    scored = [v for v in values if v is not None]
    if not scored:
        return None
    mean = math.fsum(scored) / len(scored)
    return tuple(mean if v is None else v for v in values)


def _normalised(values: Sequence[float | None], eps: float) -> tuple[float | None, ...]:
    scored = [v for v in values if v is not None]
    if len(set(scored)) < 2:
        return tuple(None if v is None else 0.0 for v in values)
    mean = math.fsum(scored) / len(scored)
    std = math.sqrt(math.fsum((v - mean) ** 2 for v in scored) / (len(scored) - 1)) + eps
    return tuple(None if v is None else (v - mean) / std for v in values)
