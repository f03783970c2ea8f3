"""The judge for asyncio: every method is a coroutine, and concurrent calls are batched together."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from reasoner_rm.judge.judge import Judge


class AsyncJudge:
    """``await AsyncJudge(judge).compare(…)``, and so on for every method of :class:`Judge`. A call that is cancelled
    before it starts is not made. One that is running continues, and its result is discarded.

    Args:
        calls: concurrent calls; further ones are queued.
    """

    def __init__(self, judge: Judge, calls: int = 64):
        self.judge = judge
        self._threads = ThreadPoolExecutor(calls, thread_name_prefix="judge")

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        if name.startswith("_") or not callable(method := getattr(self.judge, name)):
            raise AttributeError(f"{name!r} is not a method of Judge; attributes are on .judge")

        @functools.wraps(method)
        async def call(*args: Any, **kwargs: Any) -> Any:
            bound = functools.partial(method, *args, **kwargs)
            return await asyncio.get_running_loop().run_in_executor(self._threads, bound)

        return call

    def close(self) -> None:
        """Wait for running calls; later ones fail."""
        self._threads.shutdown(wait=True)
