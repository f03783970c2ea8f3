"""Many callers, one model."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, ThreadPoolExecutor
from typing import Any

import pytest

from reasoner_rm.errors import ServiceError
from reasoner_rm.serving.request_batcher import RequestBatcher
from reasoner_rm.utils.cancellation import Cancellation


class Work:
    """Squares numbers, slowly; two threads inside at once, or unequal keys together, are an error."""

    def __init__(self, seconds: float = 0.002):
        self.seconds, self.lock, self.runs = seconds, threading.Lock(), []  # type: ignore[var-annotated]

    def __call__(self, key: Any, items: list[int]) -> list[int]:
        assert self.lock.acquire(blocking=False)
        try:
            time.sleep(self.seconds)
            self.runs.append((key, len(items)))
            if -1 in items:
                raise ValueError("minus one")
            assert all(i % 2 == key for i in items)
            return [i * i for i in items]
        finally:
            self.lock.release()


def together(n: int, job: Callable[[int], Any]) -> list[Any]:
    start = threading.Barrier(n)

    def run(i: int) -> Any:
        start.wait()
        return job(i)

    with ThreadPoolExecutor(n) as threads:
        return list(threads.map(run, range(n)))


def test_everybody_gets_their_own() -> None:
    work = Work()
    batcher = RequestBatcher(work, limit=16)

    def many(i: int) -> bool:
        return all(batcher(k % 2, [k, k + 2]) == [k * k, (k + 2) ** 2] for k in range(i, i + 40))

    assert all(together(24, many))
    assert sum(n for _, n in work.runs) == 24 * 40 * 2
    assert len(work.runs) < 24 * 40 / 2, "calls were merged"
    assert max(n for _, n in work.runs) <= 16


def test_one_caller_alone_does_not_wait() -> None:
    batcher, began = RequestBatcher(Work(0.0), max_wait=5.0), time.monotonic()
    for i in range(0, 20, 2):
        assert batcher(0, [i]) == [i * i]
    assert time.monotonic() - began < 2


def test_callers_who_come_back_one_by_one_are_waited_for() -> None:
    """Else they fall into halves that take turns."""
    work = Work(0.05)
    batcher = RequestBatcher(work, max_wait=0.04)

    def ask(i: int) -> None:
        for _ in range(15):
            batcher(0, [2])
            time.sleep(0.012 * i)

    together(8, ask)
    middle = [n for _, n in work.runs[3:12]]
    assert sum(middle) / len(middle) > 6.5


def test_an_error_finds_its_own_caller() -> None:
    batcher = RequestBatcher(Work(0.02))

    def call(i: int) -> str:
        try:
            return str(batcher(1, [-1 if i == 3 else 1]))
        except ValueError as error:
            return str(error)

    for _ in range(5):
        assert together(8, call) == ["[1]"] * 3 + ["minus one"] + ["[1]"] * 4


def test_a_call_heavier_than_the_limit_is_run_alone() -> None:
    work = Work()
    assert RequestBatcher(work, limit=4)(0, [2] * 9) == [4] * 9
    assert work.runs == [(0, 9)]


def test_an_interrupt_reaches_everybody() -> None:
    def broken(key: Any, items: list[int]) -> list[int]:
        raise KeyboardInterrupt

    batcher = RequestBatcher(broken)
    with pytest.raises(KeyboardInterrupt):
        batcher(0, [1])
    with pytest.raises(KeyboardInterrupt):
        batcher(0, [1])  # and it is not left busy


def test_closing_fails_the_calls_that_wait() -> None:
    batcher = RequestBatcher(Work(0.2), limit=1)
    with ThreadPoolExecutor(3) as threads:
        calls = [threads.submit(batcher, 0, [2]) for _ in range(3)]
        time.sleep(0.1)
        batcher.close()
        errors = [call.exception(5) for call in calls]
    assert sum(isinstance(error, ServiceError) for error in errors) >= 2, "at most the running one is answered"
    with pytest.raises(ServiceError, match="the engine was closed"):
        batcher(0, [2])


def test_a_caller_that_is_not_wanted_any_more_does_not_wait_and_its_items_are_not_run() -> None:
    free, ran, cancelled = threading.Event(), [], Cancellation()

    def work(key: object, items: list[int]) -> list[int]:
        free.wait(10)
        ran.extend(items)
        return items

    batcher = RequestBatcher(work)

    def ask(i: int) -> list[int]:
        with cancelled.applied() if i == 1 else contextlib.nullcontext():
            return batcher(None, [i])

    with ThreadPoolExecutor(3) as threads:
        first = threads.submit(ask, 0)
        while not batcher.backend.running:
            time.sleep(0.001)
        unwanted, last = threads.submit(ask, 1), threads.submit(ask, 2)
        time.sleep(0.05)
        cancelled.cancel()
        with pytest.raises(CancelledError):
            unwanted.result(1)
        assert not first.done(), "the run goes on"
        free.set()
        assert (first.result(5), last.result(5)) == ([0], [2])
    assert ran == [0, 2]
    batcher.close()
