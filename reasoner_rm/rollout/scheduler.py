"""One owner thread for a model that is not thread-safe: callers queue requests and wait on futures."""

from __future__ import annotations

import contextlib
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from reasoner_rm.errors import ServiceError

Request = TypeVar("Request")
Result = TypeVar("Result")

IDLE_SECONDS = 0.5
"""The owner thread ends after so long without a request and is started again by the next one. A scheduler that is
dropped without `close` is thus collected, with its model."""


@dataclass(slots=True, eq=False)
class Job(Generic[Request]):
    """A request, the future of its result, and when it was queued (`time.monotonic`)."""

    request: Request
    future: Future[Any] = field(default_factory=Future)
    queued: float = field(default_factory=time.monotonic)

    def fail(self, error: BaseException) -> None:
        """Set an error, unless the result or an error is there already, or the future is cancelled."""
        with contextlib.suppress(InvalidStateError):
            self.future.set_exception(error)

    def finish(self, result: Any) -> None:
        with contextlib.suppress(InvalidStateError):
            self.future.set_result(result)


class Backend(ABC, Generic[Request]):
    """A model that advances requests in steps. The owner thread alone calls these methods.

    An error of one request is set on its job. An error that is raised is set on all running jobs.
    """

    @property
    @abstractmethod
    def running(self) -> Collection[Job[Request]]:
        """The jobs that were admitted and are not finished."""

    def enter_thread(self) -> None:
        """Called when an owner thread begins, for settings that belong to a thread."""

    def delay(self, waiting: Sequence[Job[Request]]) -> float:
        """Seconds to wait for a further request before the next `admit`."""
        return 0.0

    @abstractmethod
    def admit(self, waiting: deque[Job[Request]]) -> None:
        """Start as many of the waiting jobs as there is room for, and remove them from ``waiting``."""

    @abstractmethod
    def step(self) -> None:
        """Advance the running jobs, and set the results of those that are finished."""

    def abort(self, jobs: Sequence[Job[Request]]) -> None:
        """Stop running jobs whose callers do not wait any more. By default they run to their end."""

    @abstractmethod
    def reset(self) -> None:
        """Drop all running jobs after an error."""


class _Call(Job[Callable[[], Any]]):
    """A function to be called between two steps."""


class Scheduler(Generic[Request]):
    """Runs a backend for any number of callers. The owner thread admits waiting jobs, steps the backend, and repeats.

    Args:
        backend: the model. It is called by the owner thread alone.
        name: of the thread.
    """

    def __init__(self, backend: Backend[Request], name: str = "model"):
        self.backend, self.name = backend, name
        self._changed = threading.Condition()
        self._inbox: deque[Job[Request] | _Call] = deque()
        self._waiting: deque[Job[Request]] = deque()
        self._thread: threading.Thread | None = None
        self._closed: ServiceError | None = None

    def submit(self, requests: Sequence[Request]) -> list[Future[Any]]:
        """Queue requests, which the backend sees together; the futures of their results.

        Raises:
            ServiceError: the scheduler is closed.
        """
        jobs = [Job(request) for request in requests]
        self._put(jobs)
        return [job.future for job in jobs]

    def call(self, function: Callable[[], Result]) -> Future[Result]:
        """Call a function in the owner thread, between two steps; the future of its result.

        Raises:
            ServiceError: the scheduler is closed.
        """
        call = _Call(function)
        self._put([call])
        return call.future

    def cancel(self, futures: Sequence[Future[Any]]) -> None:
        """Cancel these futures at once, and drop their requests, whether they wait or run, after the current step.
        Those with a result are left alone."""
        dropped = {future for future in futures if future.cancel()}
        if dropped and self._closed is None:
            self.call(lambda: self._drop(dropped))

    def close(self) -> None:
        """End the owner thread. Requests without a result fail with a `ServiceError`, and so does whatever is queued
        later. Closing twice has no effect."""
        with self._changed:
            thread = self._thread
            self._closed = self._closed or ServiceError("the engine was closed")
            self._changed.notify_all()
        if thread is not None and thread is not threading.current_thread():
            thread.join()
        self._fail(self._closed)

    def _put(self, entries: Sequence[Job[Request] | _Call]) -> None:
        with self._changed:
            if self._closed is not None:
                raise ServiceError(str(self._closed))
            self._inbox.extend(entries)
            if self._thread is None:
                self._thread = threading.Thread(target=self._own, name=self.name, daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def _own(self) -> None:
        """The owner thread."""
        self.backend.enter_thread()
        while self._has_work():
            try:
                self._receive()
                self._gather()
                if self._waiting:
                    self.backend.admit(self._waiting)
                if self.backend.running:
                    self.backend.step()
            except BaseException as error:
                for job in list(self.backend.running):
                    job.fail(error)
                self.backend.reset()

    def _has_work(self) -> bool:
        """Wait for work. False: the thread is to end."""
        with self._changed:
            if not (self._inbox or self._waiting or self.backend.running or self._closed):
                self._changed.wait(IDLE_SECONDS)
            if self._closed is not None or not (self._inbox or self._waiting or self.backend.running):
                self._thread = None
                return False
            return True

    def _receive(self) -> None:
        """Take what was queued: jobs wait, calls run at once."""
        while self._inbox:
            entry = self._inbox.popleft()
            if not isinstance(entry, _Call):
                self._waiting.append(entry)
                continue
            try:
                entry.finish(entry.request())
            except BaseException as error:
                entry.fail(error)

    def _gather(self) -> None:
        """Wait for further requests while the backend asks for it and they arrive."""
        while self._waiting and (delay := self.backend.delay(self._waiting)) > 0:
            with self._changed:
                arrived = self._changed.wait_for(lambda: self._inbox or self._closed, delay)
            if not arrived or self._closed:
                return
            self._receive()

    def _drop(self, futures: set[Future[Any]]) -> None:
        self._waiting = deque(job for job in self._waiting if job.future not in futures)
        self.backend.abort([job for job in self.backend.running if job.future in futures])

    def _fail(self, error: ServiceError) -> None:
        """Fail everything that has no result, once the owner thread has ended."""
        for job in [*self._inbox, *self._waiting, *self.backend.running]:
            job.fail(ServiceError(str(error)))
