"""Several servers of one model: the least busy is used, and one that fails is not used for a while."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

FAILURE_THRESHOLD = 5
"""Failures in a row after which a server is not used for a while."""
FIRST_PAUSE, MAX_PAUSE = 0.5, 30.0
"""Seconds: each pause is twice as long as the one before."""
POLL_SECONDS = 0.02


class NoHealthyReplica(Exception):  # noqa: N818  # it becomes an error where it is known what it means
    """No server is left, and each was tried often enough."""


@dataclass(slots=True)
class Replica:
    """A server, the number of its requests under way, and a circuit breaker.

    After ``FAILURE_THRESHOLD`` failures in a row it is paused; then a single request tries it, and a failure of that
    request doubles the pause.
    """

    url: str
    busy: int = 0
    failures: int = 0
    cooldowns: int = 0
    paused_until: float = 0.0
    last_error: str = ""

    def succeeded(self) -> None:
        self.failures = self.cooldowns = 0

    def failed(self, words: str) -> None:
        self.failures += 1
        self.last_error = words
        if self.failures >= FAILURE_THRESHOLD:
            self.pause(min(MAX_PAUSE, FIRST_PAUSE * 2**self.cooldowns))
            self.cooldowns += 1

    def pause(self, seconds: float) -> None:
        """Do not use the server for this number of seconds."""
        self.paused_until = max(self.paused_until, time.monotonic() + seconds)

    @property
    def ready(self) -> bool:
        return time.monotonic() >= self.paused_until and (self.failures < FAILURE_THRESHOLD or not self.busy)


class Replicas:
    """Chooses among servers.

    Args:
        patience: the number of pauses after which a server counts as lost. It is still tried from time to time.
    """

    def __init__(self, servers: Sequence[Replica], patience: int):
        self.all = [*servers]
        self.patience = patience
        self._turn = 0

    @property
    def each(self) -> list[Replicas]:
        """Every server by itself, with its state."""
        return [Replicas([replica], self.patience) for replica in self.all]

    async def free(self, affinity: int | None = None) -> Replica:
        """The server to use next; waits for one that is paused.

        Args:
            affinity: requests with the same value go to the same server while it answers, so that its caches are used.

        Raises:
            NoHealthyReplica: every server is paused and out of patience.
        """
        while True:
            ready = [r for r in self.all if r.ready]
            if ready:
                return self._choice(ready, affinity)
            if all(r.cooldowns > self.patience for r in self.all):
                raise NoHealthyReplica("; ".join(dict.fromkeys(f"{r.url}: {r.last_error}" for r in self.all)))
            await asyncio.sleep(POLL_SECONDS)

    def _choice(self, ready: Sequence[Replica], affinity: int | None) -> Replica:
        if affinity is not None:
            home = self.all[affinity % len(self.all)]
            return home if home in ready else ready[affinity % len(ready)]
        self._turn += 1
        return min(ready, key=lambda r: (r.busy, (self.all.index(r) - self._turn) % len(self.all)))
