"""Stopping in good order: a node that is taken away says SIGTERM first, and every process stops after the same step."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)
"""USR1 is what Slurm is asked to send ahead of the time limit."""


class StopRequest:
    """Why training should stop; empty while it should not."""

    def __init__(self) -> None:
        self.reason = ""

    @contextlib.contextmanager
    def install_handlers(self) -> Iterator[None]:
        """Inside, a signal is a wish and no longer the end."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._heard) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _heard(self, number: int, frame: object) -> None:
        self.reason = signal.Signals(number).name
