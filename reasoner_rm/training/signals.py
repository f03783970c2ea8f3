"""Stopping after a whole step: a node that is taken away sends SIGTERM first, and every process stops after the same
step."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator

from reasoner_rm import distributed

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
"""Slurm sends USR1 ahead of the time limit, if it is asked to. SIGINT is Ctrl-C."""


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
        """Inside, a signal asks to stop instead of ending the process; a second Ctrl-C ends it at once."""
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
        if number == signal.SIGINT:
            if self.reason == signal.Signals.SIGINT.name:
                raise KeyboardInterrupt
            if distributed.is_main():
                print("\nstopping after this rollout batch; Ctrl-C again stops at once", file=sys.stderr, flush=True)
        self.reason = signal.Signals(number).name
