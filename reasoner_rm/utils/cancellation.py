"""Cancellation of blocking calls: whoever asked is gone, and the thread that waits for an answer is to end."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar


class Cancellation:
    """Ends the blocking calls of a piece of work, from any thread.

    Inside `applied`, a function that waits registers with `on_cancel` what ends its waiting.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cancelled = False
        self._callbacks: list[Callable[[], object]] = []

    def cancel(self) -> None:
        """Call all registered functions; those that are registered later are called at once."""
        with self._lock:
            self._cancelled, callbacks = True, self._callbacks
            self._callbacks = []
        for callback in callbacks:
            callback()

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Blocking calls inside, in this thread, end with :meth:`cancel`."""
        token = _current.set(self)
        try:
            yield
        finally:
            _current.reset(token)

    @contextmanager
    def _registered(self, callback: Callable[[], object]) -> Iterator[None]:
        with self._lock:
            cancelled = self._cancelled
            if not cancelled:
                self._callbacks.append(callback)
        if cancelled:
            callback()
        try:
            yield
        finally:
            with self._lock:
                if callback in self._callbacks:
                    self._callbacks.remove(callback)


@contextmanager
def on_cancel(callback: Callable[[], object]) -> Iterator[None]:
    """Call a function, from another thread, if the current work is cancelled inside the block; at once, if it was
    cancelled before. Without a `Cancellation` in effect nothing is called."""
    current = _current.get()
    if current is None:
        yield
    else:
        with current._registered(callback):
            yield


_current: ContextVar[Cancellation | None] = ContextVar("cancellation", default=None)
