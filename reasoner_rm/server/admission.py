"""What gets in: a bounded number of requests and bytes, with a key where one is set; when closing, nothing more."""

from __future__ import annotations

import asyncio
import hmac
import math
import threading
import time
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from reasoner_rm.server import errors
from reasoner_rm.server.errors import ApiError
from reasoner_rm.server.limits import Limits
from reasoner_rm.server.metrics import Metrics

T = TypeVar("T")
OPEN = ("/", "/health", "/openapi.json", "/docs", "/favicon.ico")
"""Paths that need no key."""


class AdmissionController:
    """Counts what is inside, and runs the work of requests in threads."""

    def __init__(self, limits: Limits, metrics: Metrics):
        self.limits, self.metrics = limits, metrics
        self.closing = False
        self.in_flight = self.held_bytes = 0
        self.accepted = self.answered = 0
        self._pace = 1.0
        self._lock = threading.Lock()
        self._threads = ThreadPoolExecutor(limits.in_flight, thread_name_prefix="judge")

    def enter(self) -> RequestSlot:
        """A place for one request.

        Raises:
            Refusal: 503 when closing, 429 when full.
        """
        with self._lock:
            if self.closing:
                raise ApiError(503, "the server is closing", retry_after=5)
            if self.in_flight >= self.limits.in_flight:
                raise ApiError(429, f"{self.in_flight} requests are waiting", retry_after=self._wait())
            self.in_flight += 1
            self.accepted += 1
        return RequestSlot(self)

    def hold(self, n: int) -> None:
        with self._lock:
            if self.held_bytes + n > self.limits.held_bytes:
                raise ApiError(429, "the requests inside hold all the memory there is", retry_after=self._wait())
            self.held_bytes += n

    def leave(self, held_bytes: int, seconds: float) -> None:
        with self._lock:
            self.in_flight -= 1
            self.held_bytes -= held_bytes
            self._pace = 0.9 * self._pace + 0.1 * seconds

    def _wait(self) -> int:
        """Seconds after which trying again is worth it: about what a request takes."""
        return min(60, max(1, math.ceil(self._pace)))

    async def run(self, ticket: RequestSlot, work: Callable[[], T]) -> T:
        """The result of work in a thread. The place is kept until the thread has ended, even when nobody waits.

        Raises:
            Refusal: 504 when it takes too long; and whatever ``work`` raises.
        """
        ticket.keep()

        def kept() -> T:
            try:
                return work()
            finally:
                ticket.release()

        running = asyncio.get_running_loop().run_in_executor(self._threads, kept)
        running.add_done_callback(lambda done: done.cancelled() or done.exception())  # who asked may be gone
        try:
            return await asyncio.wait_for(asyncio.shield(running), self.limits.response_timeout)
        except TimeoutError:
            raise ApiError(504, f"no answer within {self.limits.response_timeout:g} seconds") from None


class RequestSlot:
    """One request's place, and the bytes it holds. Given back when everybody who kept it has let go."""

    def __init__(self, gate: AdmissionController):
        self.gate, self.held_bytes, self._keepers = gate, 0, 1
        self._began = time.monotonic()
        self._lock = threading.Lock()

    def hold(self, n: int) -> None:
        """Raises:
        Refusal: 429, all memory is held already.
        """
        self.gate.hold(n)
        self.held_bytes += n

    def keep(self) -> None:
        with self._lock:
            self._keepers += 1

    def release(self) -> None:
        with self._lock:
            self._keepers -= 1
            last = self._keepers == 0
        if last:
            self.gate.leave(self.held_bytes, time.monotonic() - self._began)


class AdmissionMiddleware:
    """The ASGI middleware that hands out tickets, for everything that is posted.

    Args:
        hosts: the names that a request may call the server by; None: any. A page in a browser can make a name of its
            own lead to this machine, and would then be let in as one of the server's own (DNS rebinding).
    """

    def __init__(self, app: ASGIApp, gate: AdmissionController, key: str | None, hosts: Collection[str] | None):
        self.app, self.gate, self.key, self.hosts = app, gate, key, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        began, status = time.monotonic(), 500

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._let_in(scope, receive, watched)
        finally:
            route = getattr(scope.get("route"), "path", "other")
            self.gate.metrics.answered(route, status, time.monotonic() - began)

    async def _let_in(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            headers = Headers(scope=scope)
            self._check_host(headers)
            self._check_key(scope, headers)
            if scope["method"] != "POST":
                return await self.app(scope, receive, send)
            body = _length(headers)
            if body is not None and body > self.gate.limits.body:
                raise ApiError(413, f"a body of {body} bytes, {self.gate.limits.body} are allowed")
            ticket = self.gate.enter()
        except ApiError as refusal:
            return await errors.answer(refusal)(scope, receive, send)
        scope.setdefault("state", {})["ticket"] = ticket
        try:
            await self.app(scope, self._bounded(receive, ticket), send)
            self.gate.answered += 1
        finally:
            ticket.release()

    def _check_host(self, headers: Headers) -> None:
        if self.hosts is not None and _host(headers.get("host", "")) not in self.hosts:
            raise ApiError(403, "the server is not known by this name: serve --allow-host NAME")

    def _check_key(self, scope: Scope, headers: Headers) -> None:
        if self.key is None or (scope["method"] == "GET" and scope["path"] in OPEN):
            return
        given = headers.get("authorization", "").removeprefix("Bearer ").encode()
        if not hmac.compare_digest(given, self.key.encode()):
            raise ApiError(401, "a key is needed: Authorization: Bearer KEY")

    def _bounded(self, receive: Receive, ticket: RequestSlot) -> Receive:
        """Receives a body that is neither too long nor too slow. Once it is there, waiting has no bound."""
        length, whole, until = 0, False, time.monotonic() + self.gate.limits.upload_timeout

        async def bounded() -> Message:
            nonlocal length, whole
            if whole:
                return await receive()
            try:
                patience = min(self.gate.limits.idle_timeout, until - time.monotonic())
                message = await asyncio.wait_for(receive(), patience)
            except TimeoutError:
                raise ApiError(408, "the body came too slowly") from None
            if message["type"] == "http.request":
                chunk = len(message.get("body", b""))
                length, whole = length + chunk, not message.get("more_body", False)
                if length > self.gate.limits.body:
                    raise ApiError(413, f"a body of more than {self.gate.limits.body} bytes")
                ticket.hold(chunk)
            return message

        return bounded


def _host(header: str) -> str | None:
    """The name in a Host header, without its port."""
    try:
        return urlsplit(f"//{header}").hostname
    except ValueError:
        return None


def _length(headers: Headers) -> int | None:
    """The body's length as it is announced.

    Raises:
        Refusal: it is no number.
    """
    given = headers.get("content-length")
    if given is None:
        return None
    if not given.isascii() or not given.isdigit() or len(given) > 15:
        raise ApiError(400, "content-length is no number")
    return int(given)
