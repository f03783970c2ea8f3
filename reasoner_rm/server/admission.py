"""Admission control: bounds on concurrent requests and on the memory they hold, and their end at shutdown."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, ThreadPoolExecutor
from typing import TypeVar

from reasoner_rm.server import errors
from reasoner_rm.server.errors import ApiError
from reasoner_rm.server.limits import Limits
from reasoner_rm.server.memory import HeldBytes, MemoryBudget
from reasoner_rm.server.metrics import Metrics
from reasoner_rm.server.uploads import Uploads
from reasoner_rm.utils.cancellation import Cancellation

T = TypeVar("T")


class AdmissionController:
    """Counts the requests in flight, and runs their work in a thread pool.

    ``accepted`` and ``answered`` count requests since the start; while ``closing`` is true, new ones get 503.
    """

    def __init__(self, limits: Limits, metrics: Metrics):
        self.limits, self.metrics = limits, metrics
        self.memory = MemoryBudget(limits.held_bytes)
        self.uploads = Uploads(limits, self.memory)
        self.closing = False
        self.accepted = self.answered = 0
        self._slots: set[RequestSlot] = set()
        self._mean_seconds = 1.0  # of a request, an exponential moving average
        self._lock = threading.Lock()
        self._threads = ThreadPoolExecutor(limits.in_flight, thread_name_prefix="judge")

    @property
    def in_flight(self) -> int:
        return len(self._slots)

    @property
    def held_bytes(self) -> int:
        return self.memory.held

    def check_room(self) -> None:
        """Raises:
        ApiError: 503 while closing, 429 at the limit of requests.
        """
        if self.closing:
            raise errors.closing()
        if self.in_flight >= self.limits.in_flight:
            raise ApiError(429, f"{self.in_flight} requests are in flight, the limit", retry_after=self._retry_after())

    def enter(self, held: HeldBytes) -> RequestSlot:
        """Admit a request, which takes over the bytes of its body.

        Raises:
            ApiError: as of `check_room`; the bytes are given back.
        """
        with self._lock:
            try:
                self.check_room()
            except ApiError:
                held.release()
                raise
            slot = RequestSlot(held, self._leave)
            self._slots.add(slot)
            self.accepted += 1
        return slot

    def cancel_all(self) -> None:
        """End all requests in flight with 503."""
        with self._lock:
            slots = list(self._slots)
        for slot in slots:
            slot.cancel(errors.closing())

    async def run(self, slot: RequestSlot, work: Callable[[], T]) -> T:
        """The result of ``work``, run in a thread. The slot is held until the thread ends.

        Raises:
            ApiError: 504 after the response timeout; the slot's error where it was cancelled; and whatever ``work``
                raises. After a timeout, a cancellation and a disconnect the work is cancelled.
        """
        slot.retain()

        def work_then_release() -> T:
            try:
                with slot.cancellation.applied():
                    return work()
            except CancelledError:
                raise slot.error or errors.closing() from None
            finally:
                slot.release()

        future = asyncio.get_running_loop().run_in_executor(self._threads, work_then_release)
        future.add_done_callback(lambda done: done.cancelled() or done.exception())  # retrieved, or asyncio would warn
        timeout = ApiError(504, f"no answer within {self.limits.response_timeout:g} seconds")
        try:
            return await asyncio.wait_for(asyncio.shield(future), self.limits.response_timeout)
        except TimeoutError:
            slot.cancel(timeout)
            raise timeout from None
        except asyncio.CancelledError:
            slot.cancel(errors.client_gone())
            raise

    def _leave(self, slot: RequestSlot, seconds: float) -> None:
        with self._lock:
            self._slots.discard(slot)
            self._mean_seconds = 0.9 * self._mean_seconds + 0.1 * seconds

    def _retry_after(self) -> int:
        """Seconds for the Retry-After header: the mean duration of a request."""
        return min(60, max(1, math.ceil(self._mean_seconds)))


class RequestSlot:
    """One request in flight and the bytes it holds; reference-counted, freed when the count reaches 0.

    ``error`` is what the request is answered with after a cancellation.
    """

    def __init__(self, held: HeldBytes, on_free: Callable[[RequestSlot, float], None]):
        self.cancellation = Cancellation()
        self.error: ApiError | None = None
        self._held, self._on_free, self._references = held, on_free, 1
        self._started = time.monotonic()
        self._lock = threading.Lock()

    def hold(self, n: int) -> None:
        """Raises:
        ApiError: 429, the requests in flight hold too many bytes.
        """
        self._held.add(n)

    def cancel(self, error: ApiError) -> None:
        """End the request's work. A running step of a model may go on without it."""
        self.error = self.error or error
        self.cancellation.cancel()

    def retain(self) -> None:
        with self._lock:
            self._references += 1

    def release(self) -> None:
        with self._lock:
            self._references -= 1
            last = self._references == 0
        if last:
            self._held.release()
            self._on_free(self, time.monotonic() - self._started)
