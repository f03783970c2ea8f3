"""Calls from several threads become one call of the model: the caller that finds the model idle runs it for all that
wait."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(slots=True, eq=False)
class _Call:
    key: Hashable
    items: Sequence[Any]
    size: int
    results: list[Any] | None = None
    error: BaseException | None = None

    def is_done(self) -> bool:
        return self.results is not None or self.error is not None


class RequestBatcher:
    """Runs ``work(key, items)`` for concurrent callers, those with equal keys together; the model is never entered by
    two threads at once. There is no thread of its own: a caller who finds the model idle leads, the others wait.

    Args:
        work: answers items, in order.
        size: what an item weighs (completions).
        limit: the weight of one run; a single call may be heavier.
        max_wait: seconds that a leader waits for the next caller, until as many are there as asked lately.
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
        self.work, self.size, self.limit, self.max_wait, self.on_batch = work, size, limit, max_wait, on_batch
        self._condition = threading.Condition()
        self._waiting: list[_Call] = []
        self._busy = False
        self._expected = 1

    def __call__(self, key: Hashable, items: Sequence[Any]) -> list[Any]:
        """The results of one's own items, in order.

        Raises:
            whatever ``work`` raises on these items alone.
        """
        call = _Call(key, items, sum(map(self.size, items)))
        with self._condition:
            self._waiting.append(call)
            self._condition.notify_all()
        while not call.is_done():
            with self._condition:
                while self._busy and not call.is_done():
                    self._condition.wait()
                if call.is_done():
                    break
                self._busy = True
                self._gather()
                batch = self._take()
            try:
                self._run(batch)
            finally:
                with self._condition:
                    self._expected = len(batch) + len(self._waiting)
                    self._busy = False
                    self._condition.notify_all()
        if call.error is not None:
            raise call.error
        assert call.results is not None
        return call.results

    def _gather(self) -> None:
        """Wait shortly for callers that were just answered and are likely to call again. Otherwise two halves of the
        callers alternate, each run half as large as it could be."""
        here, until = len(self._waiting), time.monotonic() + self.max_wait
        while here < self._expected and sum(call.size for call in self._waiting) < self.limit:
            if not self._condition.wait(until - time.monotonic()):
                return
            if len(self._waiting) > here:
                here, until = len(self._waiting), time.monotonic() + self.max_wait

    def _take(self) -> list[_Call]:
        """The first caller's kind, in order of arrival, up to the limit."""
        batch: list[_Call] = []
        key, weight = self._waiting[0].key, 0
        for call in self._waiting:
            if call.key == key and (not batch or weight + call.size <= self.limit):
                batch.append(call)
                weight += call.size
        self._waiting = [call for call in self._waiting if call not in batch]
        return batch

    def _run(self, batch: list[_Call]) -> None:
        """One call of the model for all; after an error one for each, so that only the caller that caused it fails."""
        try:
            self._answer(batch)
        except BaseException as error:
            if len(batch) == 1 or not isinstance(error, Exception):
                for call in batch:
                    call.error = error
                return
            for call in batch:
                self._run([call])

    def _answer(self, batch: list[_Call]) -> None:
        results = list(self.work(batch[0].key, [item for call in batch for item in call.items]))
        self.on_batch(len(batch), len(results))
        start = 0
        for call in batch:
            call.results = results[start : start + len(call.items)]
            start += len(call.items)
