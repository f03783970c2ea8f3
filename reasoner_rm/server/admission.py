"""Admission control: bounds on concurrent requests and on the memory they hold, and their end at shutdown."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from reasoner_rm.server import access, errors
from reasoner_rm.server.errors import ApiError
from reasoner_rm.server.limits import Limits
from reasoner_rm.server.metrics import Metrics

T = TypeVar("T")


class AdmissionController:
    """Counts the requests in flight and the bytes they hold, and runs their work in a thread pool.

    ``accepted`` and ``answered`` count requests since the start; while ``closing`` is true, new ones get 503.
    """

    def __init__(self, limits: Limits, metrics: Metrics):
        self.limits, self.metrics = limits, metrics
        self.closing = False
        self.in_flight = self.held_bytes = 0
        self.accepted = self.answered = 0
        self._mean_seconds = 1.0  # of a request, an exponential moving average
        self._lock = threading.Lock()
        self._threads = ThreadPoolExecutor(limits.in_flight, thread_name_prefix="judge")

    def enter(self) -> RequestSlot:
        """Admit one request.

        Raises:
            ApiError: 503 while closing, 429 at the limit of requests.
        """
        with self._lock:
            if self.closing:
                raise ApiError(503, "the server is closing", retry_after=5)
            if self.in_flight >= self.limits.in_flight:
                raise ApiError(
                    429, f"{self.in_flight} requests are in flight, the limit", retry_after=self._retry_after()
                )
            self.in_flight += 1
            self.accepted += 1
        return RequestSlot(self)

    def hold(self, n: int) -> None:
        """Raises:
        ApiError: 429, the requests in flight hold too many bytes.
        """
        with self._lock:
            if self.held_bytes + n > self.limits.held_bytes:
                raise ApiError(
                    429, "the requests in flight hold all memory that is allowed", retry_after=self._retry_after()
                )
            self.held_bytes += n

    def leave(self, held_bytes: int, seconds: float) -> None:
        """Remove a request that held these bytes and took these seconds."""
        with self._lock:
            self.in_flight -= 1
            self.held_bytes -= held_bytes
            self._mean_seconds = 0.9 * self._mean_seconds + 0.1 * seconds

    def _retry_after(self) -> int:
        """Seconds for the Retry-After header: the mean duration of a request."""
        return min(60, max(1, math.ceil(self._mean_seconds)))

    async def run(self, slot: RequestSlot, work: Callable[[], T]) -> T:
        """The result of ``work``, run in a thread. The slot is held until the thread ends, also after a disconnect.

        Raises:
            ApiError: 504 after the response timeout; and whatever ``work`` raises.
        """
        slot.retain()

        def work_then_release() -> T:
            try:
                return work()
            finally:
                slot.release()

        future = asyncio.get_running_loop().run_in_executor(self._threads, work_then_release)
        future.add_done_callback(lambda done: done.cancelled() or done.exception())  # retrieved, or asyncio would warn
        try:
            return await asyncio.wait_for(asyncio.shield(future), self.limits.response_timeout)
        except TimeoutError:
            raise ApiError(504, f"no answer within {self.limits.response_timeout:g} seconds") from None


class RequestSlot:
    """One request in flight and the bytes it holds; reference-counted, freed when the count reaches 0."""

    def __init__(self, admission: AdmissionController):
        self.admission, self.held_bytes, self._references = admission, 0, 1
        self._started = time.monotonic()
        self._lock = threading.Lock()

    def hold(self, n: int) -> None:
        """Raises:
        ApiError: 429, the requests in flight hold too many bytes.
        """
        self.admission.hold(n)
        self.held_bytes += n

    def retain(self) -> None:
        with self._lock:
            self._references += 1

    def release(self) -> None:
        with self._lock:
            self._references -= 1
            last = self._references == 0
        if last:
            self.admission.leave(self.held_bytes, time.monotonic() - self._started)


class AdmissionMiddleware:
    """ASGI middleware: checks host and API key, and gives every POST request a :class:`RequestSlot` in its state.

    Args:
        key, hosts: see `access`.
    """

    def __init__(self, app: ASGIApp, admission: AdmissionController, key: str | None, hosts: Collection[str] | None):
        self.app, self.admission, self.key, self.hosts = app, admission, key, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        started, status = time.monotonic(), 500

        async def record_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._admit(scope, receive, record_status)
        finally:
            route = getattr(scope.get("route"), "path", "other")
            self.admission.metrics.answered(route, status, time.monotonic() - started)

    async def _admit(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            headers = Headers(scope=scope)
            access.check_host(headers, self.hosts)
            access.check_origin(scope["method"], headers)
            access.check_key(scope["method"], scope["path"], headers, self.key)
            if scope["method"] != "POST":
                return await self.app(scope, receive, send)
            body = _content_length(headers)
            if body is not None and body > self.admission.limits.body:
                raise ApiError(413, f"a body of {body} bytes, the limit is {self.admission.limits.body}")
            slot = self.admission.enter()
        except ApiError as error:
            return await errors.response(error)(scope, receive, send)
        scope.setdefault("state", {})["slot"] = slot
        try:
            await self.app(scope, self._bounded(receive, slot), send)
            self.admission.answered += 1
        finally:
            slot.release()

    def _bounded(self, receive: Receive, slot: RequestSlot) -> Receive:
        """``receive`` with limits on the body's bytes, pauses and total time; no limit applies after the body."""
        length, complete, deadline = 0, False, time.monotonic() + self.admission.limits.upload_timeout

        async def bounded() -> Message:
            nonlocal length, complete
            if complete:
                return await receive()
            try:
                timeout = min(self.admission.limits.idle_timeout, deadline - time.monotonic())
                message = await asyncio.wait_for(receive(), timeout)
            except TimeoutError:
                raise ApiError(408, "timeout while receiving the body") from None
            if message["type"] == "http.request":
                chunk = len(message.get("body", b""))
                length, complete = length + chunk, not message.get("more_body", False)
                if length > self.admission.limits.body:
                    raise ApiError(413, f"a body of more than {self.admission.limits.body} bytes, the limit")
                slot.hold(chunk)
            return message

        return bounded


def _content_length(headers: Headers) -> int | None:
    """The Content-Length header; None without one.

    Raises:
        ApiError: it is not a number.
    """
    given = headers.get("content-length")
    if given is None:
        return None
    if not given.isascii() or not given.isdigit() or len(given) > 15:
        raise ApiError(400, "content-length is not a number")
    return int(given)
