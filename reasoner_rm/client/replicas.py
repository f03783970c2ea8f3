"""Several servers that answer alike: the least busy is asked, and one that fails is left alone for a while."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

FAILURE_THRESHOLD = 5
"""Failures in a row after which a server is left alone."""
FIRST_REST, LONGEST_REST = 0.5, 30.0
"""Seconds: each rest is twice as long as the one before."""
POLL_SECONDS = 0.02


class NoHealthyReplica(Exception):  # noqa: N818  # it becomes an error where it is known what it means
    """No server is left, and each was tried often enough."""


@dataclass(slots=True)
class Replica:
    """A server, how many requests it works on, and how it fares (a circuit breaker).

    After ``TRIPS`` failures in a row it rests; then a single request tries it, whose failure sends it to a longer rest.
    """

    url: str
    busy: int = 0
    failures: int = 0
    cooldowns: int = 0
    back: float = 0.0
    last_words: str = ""

    def succeeded(self) -> None:
        self.failures = self.cooldowns = 0

    def failed(self, words: str) -> None:
        self.failures += 1
        self.last_words = words
        if self.failures >= FAILURE_THRESHOLD:
            self.pause(min(LONGEST_REST, FIRST_REST * 2**self.cooldowns))
            self.cooldowns += 1

    def pause(self, seconds: float) -> None:
        """Nothing is sent to it for so long."""
        self.back = max(self.back, time.monotonic() + seconds)

    @property
    def ready(self) -> bool:
        return time.monotonic() >= self.back and (self.failures < FAILURE_THRESHOLD or not self.busy)


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

    async def free(self, affinity: int | None = None) -> Replica:
        """A server to ask, waited for while there is hope.

        Args:
            lane: requests of one lane go to one server while it is well, so that its caches serve them.

        Raises:
            AllGone: each is resting, and was tried often enough.
        """
        while True:
            ready = [r for r in self.all if r.ready]
            if ready:
                return self._choice(ready, affinity)
            if all(r.cooldowns > self.patience for r in self.all):
                raise NoHealthyReplica("; ".join(dict.fromkeys(f"{r.url}: {r.last_words}" for r in self.all)))
            await asyncio.sleep(POLL_SECONDS)

    def _choice(self, ready: Sequence[Replica], affinity: int | None) -> Replica:
        if affinity is not None:
            home = self.all[affinity % len(self.all)]
            return home if home in ready else ready[affinity % len(ready)]
        self._turn += 1
        return min(ready, key=lambda r: (r.busy, (self.all.index(r) - self._turn) % len(self.all)))
