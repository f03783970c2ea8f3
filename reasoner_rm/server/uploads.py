"""Receiving bodies: each has to arrive at a rate, and one that stalls gives way to others."""

from __future__ import annotations

import asyncio

from starlette.datastructures import Headers
from starlette.types import Receive

from reasoner_rm.server import errors
from reasoner_rm.server.errors import ApiError
from reasoner_rm.server.limits import Limits
from reasoner_rm.server.memory import HeldBytes, MemoryBudget

STALLED = 2.0
"""Seconds that a body may be late before it gives way when memory is short."""


class ClientGone(Exception):  # noqa: N818
    """The connection was closed before the body was complete."""


class Uploads:
    """Receives the bodies of requests. They are not requests in flight before they are complete, so that slow clients
    take no place of others. All methods belong to the event loop."""

    def __init__(self, limits: Limits, memory: MemoryBudget):
        self.limits, self.memory = limits, memory
        self._active: set[_Upload] = set()

    async def receive(self, headers: Headers, receive: Receive) -> tuple[bytes, HeldBytes]:
        """A whole body, and the bytes that it holds of the budget.

        Raises:
            ApiError: 413, too large; 408, too slow; 429, no memory; 503, the server is closing; 400, no valid length.
            ClientGone: the connection was closed.
        """
        length = content_length(headers)
        if length is not None and length > self.limits.body:
            raise ApiError(413, f"a body of {length} bytes, the limit is {self.limits.body}")
        upload = _Upload(self.limits, HeldBytes(self.memory))
        self._active.add(upload)
        try:
            async with upload.timeout:
                body = await self._receive(upload, receive)
        except BaseException as error:
            upload.held.release()
            if isinstance(error, TimeoutError):
                raise upload.ended or ApiError(408, "timeout while receiving the body") from None
            raise
        finally:
            self._active.discard(upload)
        return body, upload.held

    def close(self) -> None:
        """End all bodies that are being received."""
        for upload in self._active:
            upload.end(errors.closing())

    async def _receive(self, upload: _Upload, receive: Receive) -> bytes:
        chunks: list[bytes] = []
        while True:
            message = await receive()
            if message["type"] != "http.request":
                raise ClientGone
            chunk = message.get("body", b"")
            self._hold(upload, len(chunk))
            upload.progress(len(chunk))
            chunks.append(chunk)
            if not message.get("more_body", False):
                return b"".join(chunks)

    def _hold(self, upload: _Upload, n: int) -> None:
        """Take memory; where there is none, of the bodies that stall, the one that is latest first."""
        if upload.held.count + n > self.limits.body:
            raise ApiError(413, f"a body of more than {self.limits.body} bytes, the limit")
        while True:
            try:
                return upload.held.add(n)
            except ApiError:
                latest = max(self._active - {upload}, key=lambda other: other.late, default=upload)
                if latest is upload or latest.late < STALLED:
                    raise
                latest.end(ApiError(408, "the body stalled while memory was short"))


class _Upload:
    """A body that is being received. Its deadline is ``idle_timeout`` from its begin, each byte moves it by what a byte
    takes at ``min_rate``, and never beyond ``idle_timeout`` from now: a client that sends slower runs out of time,
    however much it sent before."""

    def __init__(self, limits: Limits, held: HeldBytes):
        self.limits, self.held = limits, held
        self.ended: ApiError | None = None
        self._loop = asyncio.get_running_loop()
        self._last = self._loop.time() + limits.upload_timeout
        self._deadline = self._loop.time() + limits.idle_timeout
        self.timeout = asyncio.timeout_at(min(self._deadline, self._last))

    @property
    def late(self) -> float:
        """Seconds that it is behind the rate."""
        return self._loop.time() + self.limits.idle_timeout - self._deadline

    def progress(self, n: int) -> None:
        """Move the deadline by ``n`` received bytes.

        Raises:
            ApiError: it was ended.
        """
        if self.ended is not None:
            raise self.ended
        self._deadline = min(self._deadline + n / self.limits.min_rate, self._loop.time() + self.limits.idle_timeout)
        if not self.timeout.expired():
            self.timeout.reschedule(min(self._deadline, self._last))

    def end(self, error: ApiError) -> None:
        """Have it fail with an error, and free what it holds now."""
        self.held.release()
        if self.ended is None and not self.timeout.expired():
            self.ended = error
            self.timeout.reschedule(self._loop.time())


def content_length(headers: Headers) -> int | None:
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
