"""Use of a paid or shared service: tokens and cost so far, a budget, and a rate limit."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from reasoner_rm.errors import ServiceError

COUNTERS = ("requests", "input_tokens", "output_tokens")


class OutOfBudget(ServiceError):  # noqa: N818  # it is an end, no error
    """The budget is used up. Finished work is kept; the same command with a greater budget resumes."""


@dataclass(slots=True)
class Usage:
    """Tokens used so far and what they cost. Prices are in dollars for a million tokens; a ``budget`` of None is
    unlimited."""

    input_price: float = 0.0
    output_price: float = 0.0
    budget: float | None = None
    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0

    @property
    def dollars(self) -> float:
        return (self.input_tokens * self.input_price + self.output_tokens * self.output_price) / 1e6

    def check(self) -> None:
        """Raises OutOfBudget when nothing is left."""
        if self.budget is not None and self.dollars >= self.budget:
            raise OutOfBudget(f"the budget of ${self.budget:g} is spent ({self})")

    def add(self, usage: Mapping[str, Any]) -> int:
        """Add an answer by its `usage`; the number of its tokens."""
        read, written = (int(usage.get(f"{kind}_tokens") or 0) for kind in ("prompt", "completion"))
        self.requests += 1
        self.input_tokens += read
        self.output_tokens += written
        return read + written

    def state_dict(self) -> dict[str, int]:
        """The counters: requests, input tokens and output tokens."""
        return {name: getattr(self, name) for name in COUNTERS}

    def load_state_dict(self, state_dict: Mapping[str, int]) -> None:
        """Restore the counters."""
        for name in COUNTERS:
            setattr(self, name, state_dict.get(name, 0))

    def __str__(self) -> str:
        used = f"{self.requests} requests, {self.input_tokens} tokens in, {self.output_tokens} out"
        return used + (f", ${self.dollars:.2f}" if self.input_price or self.output_price else "")


class RateLimiter:
    """A rate limit in units per minute. Each use delays the next one, so that uses are evenly spaced."""

    def __init__(self, per_minute: float | None):
        self.per_minute = per_minute
        self._free = 0.0

    async def take(self, units: float) -> None:
        if self.per_minute is not None:
            now = time.monotonic()
            wait, self._free = self._free - now, max(now, self._free) + units * 60 / self.per_minute
            if wait > 0:
                await asyncio.sleep(wait)

    def correct(self, units: float) -> None:
        """Correct the last use by the units that were really needed; negative: fewer than were taken."""
        if self.per_minute is not None:
            self._free += units * 60 / self.per_minute
