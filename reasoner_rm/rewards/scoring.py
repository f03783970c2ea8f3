"""Every component of every group: at once where it is computed, awaited together where it is asked for."""

from __future__ import annotations

import asyncio
import inspect
import math
from collections.abc import Awaitable, Container, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeAlias

from reasoner_rm.errors import InputError
from reasoner_rm.rewards.base import Reward, Values
from reasoner_rm.rewards.spec import Mixture
from reasoner_rm.schema import Group, ParsedCompletion, RewardContext

Job: TypeAlias = tuple[Group, Sequence[ParsedCompletion], RewardContext]

DEADLINE = 120.0
"""Seconds that all awaited rewards of a window have; what has not answered by then is None."""


def score_components(
    mixture: Mixture, group: Group, parsed: Sequence[ParsedCompletion], context: RewardContext
) -> dict[str, tuple[float | None, ...]]:
    """Every component of a group, by name; G entries each. As :func:`score_groups` of one."""
    return score_groups(mixture, [(group, parsed, context)])[0]


def score_groups(
    mixture: Mixture, jobs: Sequence[Job], deadline: float = DEADLINE
) -> list[dict[str, tuple[float | None, ...]]]:
    """Every component of several groups. Rewards that are awaited (a remote judge) wait for all groups at once.

    Args:
        deadline: in seconds; a reward that has not answered by then, or whose connection failed, is None for its group.

    Raises:
        InputError: a reward needs a scorer that the context does not bring.
        ValueError: a reward that left its declared range or length: a bug in the reward.
    """
    found: list[dict[str, Values | Awaitable[Values]]] = []
    for group, parsed, context in jobs:
        check_scorers(mixture, context.scorers)
        found.append({name: term.reward.score(group, parsed, context) for name, term in mixture.items()})
    waiting = {
        (i, name): values for i, row in enumerate(found) for name, values in row.items() if inspect.isawaitable(values)
    }
    if waiting:
        answers = _run(_all(list(waiting.values()), deadline))
        for (i, name), values in zip(waiting, answers, strict=True):
            found[i][name] = [None] * len(jobs[i][1]) if values is None else values
    return [
        {name: _held(mixture[name].reward, values, len(parsed)) for name, values in row.items()}  # type: ignore[arg-type]
        for row, (_, parsed, _) in zip(found, jobs, strict=True)
    ]


def check_scorers(mixture: Mixture, scorers: Container[str]) -> None:
    """Raise InputError when a reward asks a scorer that is not there."""
    for name, term in mixture.items():
        for needed in term.reward.required_scorers:
            if needed not in scorers:
                remedy = f"name a function as grpo.scorers.{needed}, or hand it over in the context"
                raise InputError(f"reward {name} asks a scorer {needed!r}, which is not there", remedy=remedy)


async def _all(waiting: Sequence[Awaitable[Values]], deadline: float) -> list[Values | None]:
    async def one(values: Awaitable[Values]) -> Values | None:
        try:
            return await asyncio.wait_for(values, deadline)
        except (TimeoutError, OSError):  # a connection that failed; anything else is a bug, and shows
            return None

    return list(await asyncio.gather(*map(one, waiting)))


def _run(work: Coroutine[Any, Any, list[Values | None]]) -> list[Values | None]:
    """Wait for a coroutine, also where a loop is running already (a notebook)."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()


def _held(reward: Reward, values: Values, size: int) -> tuple[float | None, ...]:
    """The values, held to what the reward declares."""
    low, high = reward.range
    fine = len(values) == size and all(
        v is None or (math.isfinite(v) and low - 1e-6 <= v <= high + 1e-6) for v in values
    )
    if not fine:
        raise ValueError(f"reward {reward.name} returned {values}, expected {size} values in [{low}, {high}]")
    return tuple(values)
