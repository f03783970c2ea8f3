"""Streaming of a text that is generated in a thread: an asynchronous iterator of its pieces, then the result."""

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
    """The last item of a stream: what the work returned."""

    result: T


async def stream_text(
    admission: AdmissionController, slot: RequestSlot, work: Callable[[Callable[[str], None]], T]
) -> AsyncIterator[str | StreamEnd[T]]:
    """Yields the new characters at each call of the callback that ``work`` gets, then the result in a `StreamEnd`."""
    loop = asyncio.get_running_loop()
    texts: asyncio.Queue[str | None] = asyncio.Queue()
    task = asyncio.ensure_future(admission.run(slot, lambda: work(lambda text: _put(loop, texts, text))))
    task.add_done_callback(lambda _: texts.put_nowait(None))
    sent = 0
    try:
        while (text := await texts.get()) is not None:
            if len(text) > sent:
                yield text[sent:]
                sent = len(text)
        yield StreamEnd(task.result())
    finally:
        task.cancel()


def event(data: Any, name: str | None = None) -> str:
    """A server-sent event."""
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)}\n\n"


def failure(error: Exception) -> str:
    """The error event that ends a stream, whose status line was sent already."""
    match errors.MODEL_UNAVAILABLE if isinstance(error, ServiceError) else error:
        case ApiError() as rejected:
            return event(errors.body(rejected.status, rejected.message, rejected.param), "error")
        case InputError():
            return event(errors.body(400, str(error)), "error")
    return event(errors.body(500, f"the server failed: {type(error).__name__}"), "error")


def _put(loop: asyncio.AbstractEventLoop, texts: asyncio.Queue[str | None], text: str) -> None:
    try:
        loop.call_soon_threadsafe(texts.put_nowait, text)
    except RuntimeError:  # the loop is closed: the client has disconnected
        return
