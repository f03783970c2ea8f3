"""JSON of strangers. Small bytes can be many values (`[1,1,1,…`), which take many times their memory and stop every
thread while they are made, so the values are counted before the first is made."""

from __future__ import annotations

import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute

from reasoner_rm.server.errors import ApiError

MAX_VALUES = 30_000
"""Values and names of a body. The largest bodies that a route accepts have 21,000."""
MAX_WIDE = 2**20
"""Bytes of a text that is not all ASCII, as the data of images are: one wide character makes every other of its text
take four bytes."""
PIECE = 64 * 1024
"""Bytes that are read at once; a body of more is read in a thread."""
_reading = threading.Lock()
"""One large body is read at a time: threads that wait for the interpreter's lock would keep the event loop from it."""


def read_json(text: bytes) -> Any:
    """The value of a JSON text.

    Raises:
        ApiError: 422, as of `check_size`; no JSON in UTF-8, nested deeper than 200, or half a surrogate pair.
    """
    from pydantic_core import from_json

    check_size(text)
    try:
        return from_json(text)
    except ValueError as error:  # says what and where, and quotes nothing
        raise ApiError(422, f"the body is no JSON: {error}") from None


def check_size(text: bytes) -> None:
    """Check the size of what a JSON text holds. Values and names are the separators and opening brackets outside its
    strings, and one; empty lists and objects count twice. The text is read in pieces, between which other threads run.

    Raises:
        ApiError: 422, more than `MAX_VALUES`, or a text beyond ASCII of more than `MAX_WIDE` bytes.
    """
    count, length, wide = 1, 0, False
    for outside, strings in _pieces(text):
        count += sum(map(outside.count, (b",", b":", b"[", b"{")))
        if count > MAX_VALUES:
            raise ApiError(422, f"the body has more than {MAX_VALUES} values, the limit")
        for part, begins in strings:
            length = len(part) + (0 if begins else length)
            wide = not part.isascii() or b"\\u" in part or (wide and not begins)
            if wide and length > MAX_WIDE:
                raise ApiError(422, f"a text beyond ASCII of more than {MAX_WIDE} bytes, the limit")


def _pieces(text: bytes) -> Iterator[tuple[bytes, list[tuple[bytes, bool]]]]:
    """Pieces of a JSON text: what is outside its strings; and the parts of strings that are not whole in this piece,
    each with whether its string begins here. Escaped quotes and backslashes are left out."""
    quoted, start = 0, 0
    while start < len(text):
        end = start + PIECE
        piece = text[start:end]
        if cut := (len(piece) - len(piece.rstrip(b"\\"))) % 2:  # in the middle of an escape
            end += cut
            piece = text[start:end]
        parts = piece.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')
        outside, strings = b"".join(parts[quoted::2]), [(parts[0], False)] * quoted
        quoted = (quoted + len(parts) - 1) % 2
        if quoted and len(parts) > 1:
            strings.append((parts[-1], True))
        yield outside, strings
        start = end


class BoundedRoute(APIRoute):
    """A route whose JSON bodies are read by :func:`read_json`, those that are not tiny outside the event loop."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_bounded(request: Request) -> Response:
            return await handle(_BoundedRequest(request.scope, request.receive))

        return handle_bounded


class _BoundedRequest(Request):
    async def json(self) -> Any:
        body = await self.body()
        if len(body) <= PIECE:
            return read_json(body)

        def read() -> Any:
            with _reading:
                return read_json(body)

        return await self.app.state.admission.run(self.state.slot, read)
