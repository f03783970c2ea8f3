"""Where a step's time goes: seconds by phase, and what none of them accounts for."""

from __future__ import annotations

import contextlib
import time
from collections import defaultdict
from collections.abc import Iterator

import torch


class StepTimer:
    """A stop-watch with named phases. Phases do not nest."""

    def __init__(self) -> None:
        self._spent: dict[str, float] = defaultdict(float)
        self._began = time.perf_counter()

    @contextlib.contextmanager
    def __call__(self, name: str) -> Iterator[None]:
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
