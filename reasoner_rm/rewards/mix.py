"""Components into one number, and what None means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from reasoner_rm.rewards.base import Reward
from reasoner_rm.rewards.mixture import Mixture
from reasoner_rm.schema import Group, Parsed, RewardContext

Components = Mapping[str, tuple[float | None, ...]]


def score_components(
    mixture: Mixture, group: Group, parsed: Sequence[Parsed], context: RewardContext
) -> dict[str, tuple[float | None, ...]]:
    """Every component of a group, by name; G entries each.

    Raises:
        ValueError: a reward that left its declared range or length: a bug in the reward.
    """
    return {
        name: _held(term.reward, term.reward.score(group, parsed, context), len(parsed))
        for name, term in mixture.items()
    }


def _held(reward: Reward, values: Sequence[float | None], size: int) -> tuple[float | None, ...]:
    """The values, held to what the reward declares."""
    low, high = reward.range
    if len(values) != size or any(v is not None and not low - 1e-6 <= v <= high + 1e-6 for v in values):
        raise ValueError(f"reward {reward.name} returned {values}, expected {size} values in [{low}, {high}]")
    return tuple(values)


def mix(weights: Mapping[str, float], components: Components) -> tuple[float, ...]:
    """The weighted sum per completion.

    A component that is None for all G is dropped for the group; where it is None for some, those take the group's
    mean of it, so that nobody gains or loses by being unscorable. It is never zero.
    """
    size = len(next(iter(components.values())))
    totals = [0.0] * size
    for name, weight in weights.items():
        known = [v for v in components[name] if v is not None]
        if not known:
            continue
        mean = sum(known) / len(known)
        totals = [t + weight * (mean if v is None else v) for t, v in zip(totals, components[name], strict=True)]
    return tuple(totals)
