"""The heads of requests, neither slow nor endless; uvicorn bounds neither."""

from __future__ import annotations

from asyncio import TimerHandle, Transport

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

SECONDS = 20.0
"""From a connection, or a request's first byte, to the end of its head."""
BYTES = 64 * 1024


class HeaderLimitProtocol(HttpToolsProtocol):
    """A connection whose next request's head takes too long is closed; one that is too large gets 400."""

    _timer: TimerHandle | None = None
    _received = 0

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        super().connection_made(transport)
        self._expect()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._expect()

    def on_headers_complete(self) -> None:
        self._arrived()
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._timer is not None:
            self._received += len(data)
            if self._received > BYTES and not self.transport.is_closing():
                self.send_400_response("The head is too large.")

    def connection_lost(self, exc: Exception | None) -> None:
        self._arrived()
        super().connection_lost(exc)

    def _expect(self) -> None:
        self._arrived()
        self._received = 0
        self._timer = self.loop.call_later(SECONDS, self.transport.close)

    def _arrived(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
