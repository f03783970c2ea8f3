"""Calls of several threads become one call of the model."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Collection, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from reasoner_rm.rollout.scheduler import Backend, Job, Scheduler
from reasoner_rm.utils.cancellation import on_cancel


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """The items of one caller. Calls with equal keys may share a run; ``size`` is the weight of all items."""

    key: Hashable
    items: Sequence[Any]
    size: int


class RequestBatcher:
    """Runs ``work(key, items)`` for concurrent callers, those with equal keys together, in one owner thread.

    Args:
        work: answers items, in order.
        size: the weight of an item (completions).
        limit: the weight of one run; a single call may be heavier.
        max_wait: seconds that a run waits for the next caller, until as many are there as asked lately.
        on_batch: called after each run with the numbers of callers and items.
    """

    def __init__(
        self,
        work: Callable[[Any, list[Any]], Sequence[Any]],
        size: Callable[[Any], int] = lambda item: 1,
        limit: int = 128,
        max_wait: float = 0.05,
        on_batch: Callable[[int, int], None] = lambda callers, items: None,
    ):
        self.size = size
        self.backend = CallBackend(work, limit, max_wait, on_batch)
        self.scheduler = Scheduler(self.backend)

    def __call__(self, key: Hashable, items: Sequence[Any]) -> list[Any]:
        """The results of one's own items, in order.

        Raises:
            whatever ``work`` raises on these items alone; ServiceError: the batcher is closed; CancelledError: see
                `utils.cancellation`.
        """
        futures = self.scheduler.submit([Call(key, items, sum(map(self.size, items)))])
        try:
            with on_cancel(lambda: self.scheduler.cancel(futures)):
                results: list[Any] = futures[0].result()
        finally:
            self.scheduler.cancel(futures)  # of a caller that was interrupted
        return results

    def close(self) -> None:
        """Fail all calls that are not answered, and every later one."""
        self.scheduler.close()


class CallBackend(Backend[Call]):
    """Each step is one run of ``work`` for all admitted calls; see `RequestBatcher`."""

    def __init__(
        self,
        work: Callable[[Any, list[Any]], Sequence[Any]],
        limit: int,
        max_wait: float,
        on_batch: Callable[[int, int], None],
    ):
        self.work, self.limit, self.max_wait, self.on_batch = work, limit, max_wait, on_batch
        self._batch: list[Job[Call]] = []
        self._ended, self._last = 0.0, 1

    @property
    def running(self) -> Collection[Job[Call]]:
        return self._batch

    def delay(self, waiting: Sequence[Job[Call]]) -> float:
        """Wait for callers that were just answered and are likely to call again. Otherwise two halves of the callers
        alternate, each run half as large as it could be."""
        expected = self._last + sum(job.queued < self._ended for job in waiting)
        full = sum(job.request.size for job in waiting) >= self.limit
        return 0.0 if full or len(waiting) >= expected else self.max_wait

    def admit(self, waiting: deque[Job[Call]]) -> None:
        """The first caller's kind, in order of arrival, up to the limit."""
        key, weight = waiting[0].request.key, 0
        for job in waiting:
            call = job.request
            if call.key == key and (not self._batch or weight + call.size <= self.limit):
                self._batch.append(job)
                weight += call.size
        for job in self._batch:
            waiting.remove(job)

    def step(self) -> None:
        self._run(self._batch)
        self._last, self._ended = len(self._batch), time.monotonic()
        self._batch = []

    def reset(self) -> None:
        self._batch = []

    def _run(self, batch: list[Job[Call]]) -> None:
        """One run for all; after an error one for each, so that only the caller that caused it fails."""
        items = [item for job in batch for item in job.request.items]
        try:
            results = list(self.work(batch[0].request.key, items))
            self.on_batch(len(batch), len(results))
        except Exception as error:
            if len(batch) == 1:
                return batch[0].fail(error)
            for job in batch:
                self._run([job])
            return
        start = 0
        for job in batch:
            job.finish(results[start : start + len(job.request.items)])
            start += len(job.request.items)
