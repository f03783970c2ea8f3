"""Stopping after a whole step: a node that is taken away sends SIGTERM first, and every process stops after the same
step."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator

from reasoner_rm import distributed

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)
"""Slurm sends USR1 ahead of the time limit, if it is asked to."""


class StopRequest:
    """Why training should stop."""

    def __init__(self) -> None:
        self.reason = ""
        """The reason why this process is to stop; empty without one."""
        self.agreed = False
        """Whether all processes know that they stop."""

    def request(self, reason: str) -> None:
        """Ask to stop; the first reason stays."""
        self.reason = self.reason or reason

    def agree(self) -> bool:
        """Whether any process has a reason to stop, which then holds for all. Collective: call it on every process."""
        reasons = [reason for reason in distributed.all_gather(self.reason) if reason]
        if reasons:
            self.request(reasons[0])
            self.agreed = True
        return self.agreed

    @contextlib.contextmanager
    def handlers(self) -> Iterator[None]:
        """Inside, a signal asks to stop instead of ending the process."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._handle) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _handle(self, number: int, frame: object) -> None:
        self.reason = signal.Signals(number).name
