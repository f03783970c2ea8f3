"""The event loop of all clients of a process, in a thread of its own."""

from __future__ import annotations

import asyncio
import os
import threading


class _LoopThread:
    """The loop, started at its first use."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Start a new one at the next use: a thread does not survive a fork."""
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None

    def get(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=self._loop.run_forever, name="endpoints", daemon=True).start()
            return self._loop


_thread = _LoopThread()
os.register_at_fork(after_in_child=_thread.forget)


def event_loop() -> asyncio.AbstractEventLoop:
    """The loop. All threads get the same one: semaphores and connections belong to the loop that first used them."""
    return _thread.get()
