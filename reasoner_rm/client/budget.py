"""What a paid or shared service is used for: an account, a budget, and a pace."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from reasoner_rm.errors import ServiceError

ACCOUNT = ("requests", "input_tokens", "output_tokens")


class OutOfBudget(ServiceError):  # noqa: N818  # it is an end, no error
    """What was set aside is spent: what was made so far is kept, and the same command with more goes on."""


@dataclass(slots=True)
class Usage:
    """Tokens used so far and what they cost. Prices are in dollars for a million tokens; a ``budget`` of None has no
    end."""

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
        """Book an answer by its `usage`; how many tokens it was."""
        read, written = (int(usage.get(f"{kind}_tokens") or 0) for kind in ("prompt", "completion"))
        self.requests += 1
        self.input_tokens += read
        self.output_tokens += written
        return read + written

    def used(self) -> dict[str, int]:
        """The account, as JSON knows it."""
        return {name: getattr(self, name) for name in ACCOUNT}

    def recall(self, used: Mapping[str, int]) -> None:
        """Go on from an account."""
        for name in ACCOUNT:
            setattr(self, name, used.get(name, 0))

    def __str__(self) -> str:
        used = f"{self.requests} requests, {self.input_tokens} tokens in, {self.output_tokens} out"
        return used + (f", ${self.dollars:.2f}" if self.input_price or self.output_price else "")


class RateLimiter:
    """So many units a minute, evenly spaced: whoever takes some makes the next one wait."""

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
        """So many more (or, below zero, fewer) were used than were taken."""
        if self.per_minute is not None:
            self._free += units * 60 / self.per_minute
