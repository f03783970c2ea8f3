"""Several servers that answer alike: the least busy is asked, and one that fails is left alone for a while."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

TRIPS = 5
"""Failures in a row after which a server is left alone."""
FIRST_REST, LONGEST_REST = 0.5, 30.0
"""Seconds: each rest is twice as long as the one before."""
GLANCE = 0.02


class AllGone(Exception):  # noqa: N818  # it becomes an error where it is known what it means
    """No server is left, and each was tried often enough."""


@dataclass(slots=True)
class Replica:
    """A server, how many requests it works on, and how it fares (a circuit breaker).

    After ``TRIPS`` failures in a row it rests; then a single request tries it, whose failure sends it to a longer rest.
    """

    url: str
    busy: int = 0
    failures: int = 0
    rests: int = 0
    back: float = 0.0
    last_words: str = ""

    def succeeded(self) -> None:
        self.failures = self.rests = 0

    def failed(self, words: str) -> None:
        self.failures += 1
        self.last_words = words
        if self.failures >= TRIPS:
            self.pause(min(LONGEST_REST, FIRST_REST * 2**self.rests))
            self.rests += 1

    def pause(self, seconds: float) -> None:
        """Nothing is sent to it for so long."""
        self.back = max(self.back, time.monotonic() + seconds)

    @property
    def ready(self) -> bool:
        return time.monotonic() >= self.back and (self.failures < TRIPS or not self.busy)


class Replicas:
    """Chooses among servers.

    Args:
        patience: how many rests a server gets before it counts as gone. It is still tried, now and then.
    """

    def __init__(self, servers: Sequence[Replica], patience: int):
        self.all = [*servers]
        self.patience = patience
        self._turn = 0

    @property
    def each(self) -> list[Replicas]:
        """Every server alone, with what is known of it."""
        return [Replicas([replica], self.patience) for replica in self.all]

    async def free(self, lane: int | None = None) -> Replica:
        """A server to ask, waited for while there is hope.

        Args:
            lane: requests of one lane go to one server while it is well, so that its caches serve them.

        Raises:
            AllGone: each is resting, and was tried often enough.
        """
        while True:
            ready = [r for r in self.all if r.ready]
            if ready:
                return self._choice(ready, lane)
            if all(r.rests > self.patience for r in self.all):
                raise AllGone("; ".join(dict.fromkeys(f"{r.url}: {r.last_words}" for r in self.all)))
            await asyncio.sleep(GLANCE)

    def _choice(self, ready: Sequence[Replica], lane: int | None) -> Replica:
        if lane is not None:
            home = self.all[lane % len(self.all)]
            return home if home in ready else ready[lane % len(ready)]
        self._turn += 1
        return min(ready, key=lambda r: (r.busy, (self.all.index(r) - self._turn) % len(self.all)))
