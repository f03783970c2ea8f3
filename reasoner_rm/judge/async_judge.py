"""The judge for asyncio: every method awaited, calls under way at the same time merged."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from reasoner_rm.judge.judge import Judge


class AsyncJudge:
    """``await AsyncJudge(judge).compare(…)``, and so on for every method of :class:`Judge`. A call that is cancelled
    while it waits its turn is not made; one under way ends by itself, unheard.

    Args:
        calls: how many may be under way; more wait their turn.
    """

    def __init__(self, judge: Judge, calls: int = 64):
        self.judge = judge
        self._threads = ThreadPoolExecutor(calls, thread_name_prefix="judge")

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        if name.startswith("_") or not callable(method := getattr(self.judge, name)):
            raise AttributeError(f"{name!r} is no method of a judge; see .judge")

        @functools.wraps(method)
        async def call(*args: Any, **kwargs: Any) -> Any:
            work = functools.partial(method, *args, **kwargs)
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)

        return call

    def close(self) -> None:
        """Let what is under way end and refuse what comes after."""
        self._threads.shutdown(wait=True)
