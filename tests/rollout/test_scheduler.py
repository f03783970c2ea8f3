"""One owner thread for many callers: whose result is whose, errors, cancellation, and the end."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor

import pytest

from reasoner_rm.errors import ServiceError
from reasoner_rm.rollout import scheduler as module
from reasoner_rm.rollout.scheduler import Backend, Job, Scheduler

BAD, FATAL = -1, -2


class Countdown(Backend[int]):
    """A request of n takes n steps; its result is n. It fails where another thread than the first enters."""

    def __init__(self, room: int = 4, seconds: float = 0.0):
        self.room, self.seconds = room, seconds
        self.left: dict[Job[int], int] = {}
        self.sizes: list[int] = []
        self.aborted: list[int] = []
        self.threads: set[int] = set()
        self.inside = threading.Lock()
        self.entered: list[int] = []

    def enter_thread(self) -> None:
        self.entered.append(threading.get_ident())

    @property
    def running(self) -> Collection[Job[int]]:
        return self.left.keys()

    def admit(self, waiting: deque[Job[int]]) -> None:
        while waiting and len(self.left) < self.room:
            job = waiting.popleft()
            if job.request == BAD:
                job.fail(ValueError("a bad request"))
            else:
                self.left[job] = max(job.request, 1)

    def step(self) -> None:
        assert self.inside.acquire(blocking=False)
        self.threads.add(threading.get_ident())
        self.sizes.append(len(self.left))
        time.sleep(self.seconds)
        self.inside.release()
        if any(job.request == FATAL for job in self.left):
            raise RuntimeError("a failed step")
        self.left = {job: n - 1 for job, n in self.left.items()}
        for job in [job for job, n in self.left.items() if n == 0]:
            del self.left[job]
            job.finish(job.request)

    def abort(self, jobs: Sequence[Job[int]]) -> None:
        for job in jobs:
            del self.left[job]
            self.aborted.append(job.request)

    def reset(self) -> None:
        self.left = {}


def together(n: int, call: Callable[[int], object]) -> list[object]:
    start = threading.Barrier(n)

    def run(i: int) -> object:
        start.wait()
        return call(i)

    with ThreadPoolExecutor(n) as threads:
        return list(threads.map(run, range(n)))


def test_each_caller_gets_the_results_of_its_own_requests() -> None:
    backend = Countdown(room=16)
    scheduler = Scheduler(backend)

    def call(i: int) -> bool:
        for k in range(20):
            rows = [i + k, i, k + 1]
            if [f.result(20) for f in scheduler.submit(rows)] != rows:
                return False
        return True

    assert all(together(16, call))
    assert max(backend.sizes) == 16, "they ran together"
    scheduler.close()


def test_a_bad_request_among_good_ones_fails_alone() -> None:
    scheduler = Scheduler(Countdown())
    good, bad, last = scheduler.submit([3, BAD, 2])
    with pytest.raises(ValueError, match="a bad request"):
        bad.result(5)
    assert (good.result(5), last.result(5)) == (3, 2)
    scheduler.close()


def test_a_failed_step_fails_what_runs_and_the_scheduler_goes_on() -> None:
    scheduler = Scheduler(Countdown(room=2))
    running, fatal, waiting = scheduler.submit([5, FATAL, 1])
    for future in (running, fatal):
        with pytest.raises(RuntimeError, match="a failed step"):
            future.result(5)
    assert waiting.result(5) == 1
    scheduler.close()


def test_cancelled_requests_are_aborted_and_room_is_made() -> None:
    backend = Countdown(room=1, seconds=0.001)
    scheduler = Scheduler(backend)
    endless, waiting, last = scheduler.submit([10**9, 7, 2])
    until = time.monotonic() + 5
    while not backend.sizes and time.monotonic() < until:
        time.sleep(0.001)
    scheduler.cancel([endless, waiting])
    assert endless.cancelled() and waiting.cancelled(), "at once, and not after the step"
    assert last.result(5) == 2 and backend.aborted == [10**9]
    for future in (endless, waiting):
        with pytest.raises(CancelledError):
            future.result(5)
    scheduler.close()


def test_a_function_is_called_between_two_steps() -> None:
    backend = Countdown(seconds=0.005)
    scheduler = Scheduler(backend)
    (future,) = scheduler.submit([40])
    for _ in range(5):
        assert not scheduler.call(backend.inside.locked).result(5), "a step was under way"
    assert backend.threads == {scheduler.call(threading.get_ident).result(5)}
    with pytest.raises(ZeroDivisionError):
        scheduler.call(lambda: 1 / 0).result(5)
    assert future.result(5) == 40
    scheduler.close()


def test_closing_fails_what_runs_what_waits_and_what_comes_later() -> None:
    scheduler = Scheduler(Countdown(room=1, seconds=0.01))
    futures = scheduler.submit([10**9, 1])
    with ThreadPoolExecutor(2) as threads:
        callers = [threads.submit(future.result, 20) for future in futures]
        time.sleep(0.05)
        scheduler.close()
        for caller in callers:
            with pytest.raises(ServiceError, match="the engine was closed"):
                caller.result(5)
    with pytest.raises(ServiceError, match="the engine was closed"):
        scheduler.submit([1])
    scheduler.cancel(futures)
    scheduler.close()


def test_a_dropped_scheduler_is_collected_with_its_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    """The owner thread does not outlive its work, and the next request starts it again."""
    monkeypatch.setattr(module, "IDLE_SECONDS", 0.02)
    backend = Countdown()
    scheduler, gone = Scheduler(backend, "dropped"), weakref.ref(backend)
    for _ in range(3):
        assert scheduler.submit([2])[0].result(5) == 2
        until = time.monotonic() + 5
        while any(thread.name == "dropped" for thread in threading.enumerate()):
            assert time.monotonic() < until
            time.sleep(0.01)
    assert len(backend.entered) == 3 and backend.threads <= set(backend.entered)
    del scheduler, backend
    gc.collect()
    assert gone() is None
