"""Progress that is shown while a single step, or work without steps, takes long."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tqdm.auto import tqdm

PERIOD = 5.0
"""Seconds between two drawings."""


@contextmanager
def redrawn(bar: tqdm, period: float = PERIOD) -> Iterator[tqdm]:
    """Inside, a progress bar is drawn every ``period`` seconds, with the time that has passed, also between its
    updates."""

    def draw(over: threading.Event) -> None:
        while not over.wait(period):
            bar.refresh()

    with _in_thread(draw):
        yield bar


@contextmanager
def working(what: str, period: float = PERIOD) -> Iterator[None]:
    """Inside, standard error shows ``what`` is done and for how long. Work of less than ``period`` seconds shows
    nothing."""

    def draw(over: threading.Event) -> None:
        if over.wait(period):
            return
        with tqdm(desc=what, bar_format="{desc}: {elapsed}") as line, redrawn(line, period):
            over.wait()

    with _in_thread(draw):
        yield


@contextmanager
def _in_thread(draw: Callable[[threading.Event], None]) -> Iterator[None]:
    """``draw`` runs in a thread until the context ends, which sets its event."""
    over = threading.Event()
    thread = threading.Thread(target=draw, args=(over,), name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
