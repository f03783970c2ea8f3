"""A text that grows in a thread, as an asynchronous stream of pieces with the result at its end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from reasoner_rm.errors import InputError, ServiceError
from reasoner_rm.server import errors
from reasoner_rm.server.admission import AdmissionController, RequestSlot
from reasoner_rm.server.errors import ApiError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class StreamEnd(Generic[T]):
    """The end of a stream."""

    result: T


async def stream_text(
    gate: AdmissionController, ticket: RequestSlot, work: Callable[[Callable[[str], None]], T]
) -> AsyncIterator[str | StreamEnd[T]]:
    """Pieces of the text that ``work`` tells its watcher of, then its result."""
    loop = asyncio.get_running_loop()
    told: asyncio.Queue[str | None] = asyncio.Queue()
    running = asyncio.ensure_future(gate.run(ticket, lambda: work(lambda t: _tell(loop, told, t))))
    running.add_done_callback(lambda _: told.put_nowait(None))
    sent = 0
    try:
        while (text := await told.get()) is not None:
            if len(text) > sent:
                yield text[sent:]
                sent = len(text)
        yield StreamEnd(running.result())
    finally:
        running.cancel()


def event(data: Any, name: str | None = None) -> str:
    """A server-sent event."""
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)}\n\n"


def failure(error: Exception) -> str:
    """The event that ends a stream which cannot go on: its status is sent already."""
    match errors.MODEL_UNAVAILABLE if isinstance(error, ServiceError) else error:
        case ApiError() as refusal:
            return event(errors.body(refusal.status, refusal.message, refusal.param), "error")
        case InputError():
            return event(errors.body(400, str(error)), "error")
    return event(errors.body(500, f"the server failed: {type(error).__name__}"), "error")


def _tell(loop: asyncio.AbstractEventLoop, told: asyncio.Queue[str | None], text: str) -> None:
    try:
        loop.call_soon_threadsafe(told.put_nowait, text)
    except RuntimeError:  # the loop is closed: nobody listens
        return
