"""Where a step's time goes: seconds by phase, and what none of them accounts for."""

from __future__ import annotations

import contextlib
import time
from collections import defaultdict
from collections.abc import Callable, Iterator

import torch


class StepTimer:
    """A stop-watch with named phases. Phases do not nest.

    Args:
        on_phase: called with the name of each phase when it begins.
    """

    def __init__(self, on_phase: Callable[[str], None] = lambda name: None) -> None:
        self._on_phase = on_phase
        self._spent: dict[str, float] = defaultdict(float)
        self._began = time.perf_counter()

    @contextlib.contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        self._on_phase(name)
        start = _now()
        try:
            yield
        finally:
            self._spent[name] += _now() - start

    def reset(self) -> dict[str, float]:
        """Seconds since the last reset: ``time/step`` in all, ``time/NAME`` by phase, ``time/overhead`` the rest."""
        now = _now()
        whole, self._began = now - self._began, now
        spent = {f"time/{name}": seconds for name, seconds in self._spent.items()}
        self._spent.clear()
        return {"time/step": whole, **spent, "time/overhead": max(0.0, whole - sum(spent.values()))}


def _now() -> float:
    """A GPU works on while the CPU goes ahead, so that a phase ends when its last kernel does."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return time.perf_counter()
