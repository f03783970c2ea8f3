"""Limits on connections, which uvicorn does not have: their number, the time and size of headers, and the time that a
client takes to read its response."""

from __future__ import annotations

import os
import resource
from asyncio import TimerHandle, Transport

from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from reasoner_rm.server.limits import Limits

READ_TIMEOUT = 20.0
"""Seconds from the connection, or from a request's first byte, to the end of its headers; and from a rejection to the
end of the rejected body."""
MAX_HEADER_BYTES = 64 * 1024
BACKLOG = 512
"""Connections that the system keeps until the server accepts them, and that asyncio accepts at once."""
FILES_PER_REQUEST = 2
"""Temporary files of a form with two large images."""


class LimitedProtocol(HttpToolsProtocol):
    """A connection. It is closed when its client does not send its headers, or does not read its response, in time.
    When there are too many connections, the one that has waited longest for its client is closed: for headers, for the
    rest of a body, or for the next request."""

    max_connections: int
    write_timeout: float

    _read_timer: TimerHandle | None = None
    _write_timer: TimerHandle | None = None
    _in_headers = True
    _running: RequestResponseCycle | None = None
    """The request that is being answered; `cycle` is the newest, which may wait behind it (pipelining)."""
    _waiting_since: float | None = None
    """The loop's time; None while a request is being answered."""
    _received = 0

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=0)  # `pause_writing` is called for every byte that the client leaves
        self._start_headers()
        self._make_room()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._start_headers()

    def on_headers_complete(self) -> None:
        self._stop_read_timer()
        self._in_headers = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._stop_read_timer()
        if not self.cycle.response_complete:
            self._waiting_since = None

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.cycle.response_complete:
            self._waiting_since = self.loop.time()
            if self.cycle.more_body:  # of a rejected request; it is not used
                self._start_read_timer()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._in_headers:
            self._received += len(data)
            if self._received > MAX_HEADER_BYTES and not self.transport.is_closing():
                self.send_400_response("The headers are too large.")

    def pause_writing(self) -> None:
        super().pause_writing()
        self._write_timer = self.loop.call_later(self.write_timeout, self.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop_write_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_read_timer()
        self._stop_write_timer()
        self._disconnect()
        super().connection_lost(exc)

    def abort(self) -> None:
        """Close the connection at once; what was not sent yet is lost."""
        self._disconnect()
        self.transport.abort()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def _disconnect(self) -> None:
        if self._running is not None and not self._running.response_complete:
            self._running.disconnected = True
            self._running.message_event.set()

    def _make_room(self) -> None:
        opened = [c for c in self.connections if isinstance(c, LimitedProtocol) and not c.transport.is_closing()]
        if len(opened) > self.max_connections:
            waiting = [(c._waiting_since, i) for i, c in enumerate(opened) if c._waiting_since is not None]
            opened[min(waiting)[1]].abort()

    def _start_headers(self) -> None:
        self._in_headers, self._received = True, 0
        self._waiting_since = self.loop.time()
        self._start_read_timer()

    def _start_read_timer(self) -> None:
        self._stop_read_timer()
        self._read_timer = self.loop.call_later(READ_TIMEOUT, self.transport.close)

    def _stop_read_timer(self) -> None:
        if self._read_timer is not None:
            self._read_timer.cancel()
            self._read_timer = None

    def _stop_write_timer(self) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None


def limited_protocol(limits: Limits) -> type[LimitedProtocol]:
    """The protocol with a server's limits. Connections are no more than the process may have files open; that limit is
    raised where the system allows it."""
    others = len(os.listdir("/dev/fd")) + BACKLOG + FILES_PER_REQUEST * limits.in_flight
    files = _raise_file_limit(limits.connections + others)
    connections = min(limits.connections, max(files - others, files // 2))
    settings = {"max_connections": connections, "write_timeout": limits.idle_timeout}
    return type("LimitedProtocol", (LimitedProtocol,), settings)


def _raise_file_limit(wanted: int) -> int:
    """Let this process have ``wanted`` files open, or as many as the system allows; returns how many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return wanted
    raised = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
    except (OSError, ValueError):  # macOS has a lower limit of its own
        return soft
    return raised
