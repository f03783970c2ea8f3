"""Scoring of groups: every component of every group, with the coroutines of remote scorers awaited together."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import math
from collections.abc import Awaitable, Container, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeAlias

from reasoner_rm.errors import InputError
from reasoner_rm.rewards.base import Result, Reward, RewardOutput, Values
from reasoner_rm.rewards.returned import finite, finite_values, shown
from reasoner_rm.rewards.spec import Mixture
from reasoner_rm.schema import Group, ParsedCompletion, RewardContext

Job: TypeAlias = tuple[Group, Sequence[ParsedCompletion], RewardContext]

TIMEOUT = 120.0
"""Seconds for all awaited rewards of a rollout batch; a reward that is late is None."""


def score_components(
    mixture: Mixture, group: Group, parsed: Sequence[ParsedCompletion], context: RewardContext
) -> dict[str, Values]:
    """The values of every component of a group, by name; G entries each."""
    return {name: output.values for name, output in score_groups(mixture, [(group, parsed, context)])[0].items()}


def score_groups(mixture: Mixture, jobs: Sequence[Job], timeout: float = TIMEOUT) -> list[dict[str, RewardOutput]]:
    """Every component of several groups. Awaited rewards (a remote judge) run concurrently over all groups.

    Args:
        timeout: in seconds; a reward that is late, or whose connection failed, is None for its group.

    Raises:
        InputError: a reward needs a scorer that the context lacks, or did not return one value per completion, None or
            a number within its range.
    """
    results: list[dict[str, Result | Awaitable[Result]]] = []
    for group, parsed, context in jobs:
        check_scorers(mixture, context.scorers)
        results.append({name: term.reward.score(group, parsed, context) for name, term in mixture.items()})
    waiting = {
        (i, name): result
        for i, row in enumerate(results)
        for name, result in row.items()
        if inspect.isawaitable(result)
    }
    if waiting:
        answers = _run(_gather(list(waiting.values()), timeout))
        for (i, name), result in zip(waiting, answers, strict=True):
            results[i][name] = [None] * len(jobs[i][1]) if result is None else result
    return [
        {name: _checked(mixture[name].reward, result, group.sample.id, len(parsed)) for name, result in row.items()}
        for row, (group, parsed, _) in zip(results, jobs, strict=True)
    ]


def check_scorers(mixture: Mixture, scorers: Container[str]) -> None:
    """Check that every scorer that a reward calls is there.

    Raises:
        InputError: one is missing.
    """
    for name, term in mixture.items():
        for needed in term.reward.required_scorers:
            if needed not in scorers:
                remedy = f"name a function as grpo.scorers.{needed}, or hand it over in the context"
                raise InputError(f"reward {name} asks a scorer {needed!r}, which is not there", remedy=remedy)


async def _gather(waiting: Sequence[Awaitable[Result]], timeout: float) -> list[Result | None]:
    async def wait(result: Awaitable[Result]) -> Result | None:
        try:
            return await asyncio.wait_for(result, timeout)
        except (TimeoutError, OSError):  # a failed connection; other errors are bugs and propagate
            return None

    return list(await asyncio.gather(*map(wait, waiting)))


def _run(work: Coroutine[Any, Any, list[Result | None]]) -> list[Result | None]:
    """Run a coroutine to its end, also inside a running event loop (a notebook)."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()


def _checked(reward: Reward, result: Any, sample: str, size: int) -> RewardOutput:
    """A reward's output as plain floats: G values in its range, G values of each metric, finite span rewards."""
    output = result if isinstance(result, RewardOutput) else RewardOutput(result)
    low, high = reward.range
    bound = "a finite number" if math.isinf(low) and math.isinf(high) else f"a number in [{low:g}, {high:g}]"
    remedy = f"return {size} values, each None or {bound}"
    with _named(reward.name, output.values, sample, remedy):
        values = finite_values(output.values, size)
        if not all(v is None or low - 1e-6 <= v <= high + 1e-6 for v in values):
            raise ValueError(f"outside {bound}")
    metrics = {}
    for name, given in output.metrics.items():
        with _named(f"{reward.name}, metric {name},", given, sample, f"return {size} values, each None or a number"):
            metrics[name] = finite_values(given, size)
    with _named(f"{reward.name}, spans,", output.spans, sample, f"return {size} lists of (start, end, number)"):
        spans = tuple(tuple((start, end, finite(value)) for start, end, value in row) for row in output.spans)
        if len(spans) not in (0, size):
            raise ValueError(f"not {size} lists of spans")
    return RewardOutput(values, spans, metrics)


@contextlib.contextmanager
def _named(what: str, returned: Any, sample: str, remedy: str) -> Iterator[None]:
    """Refuse what a reward returned, with the names of the reward and the sample."""
    try:
        yield
    except (ValueError, TypeError):
        raise InputError(f"reward {what} returned {shown(returned)} for sample {sample!r}", remedy=remedy) from None
