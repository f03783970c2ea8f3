"""The memory that requests hold: one budget for all, and the bytes of each."""

from __future__ import annotations

import threading

from reasoner_rm.server.errors import ApiError


class MemoryBudget:
    """Bytes that bodies and decoded images of all requests hold together.

    Args:
        limit: the most bytes.
    """

    def __init__(self, limit: int):
        self.limit, self.held = limit, 0
        self._lock = threading.Lock()

    def take(self, n: int) -> bool:
        """Whether there was room for ``n`` more bytes, which are then taken."""
        with self._lock:
            fits = self.held + n <= self.limit
            self.held += n if fits else 0
        return fits

    def give_back(self, n: int) -> None:
        with self._lock:
            self.held -= n


class HeldBytes:
    """The bytes of one request."""

    def __init__(self, budget: MemoryBudget):
        self.budget, self.count = budget, 0

    def add(self, n: int) -> None:
        """Raises:
        ApiError: 413, more than one request may ever hold; 429, the budget has no room now.
        """
        if self.count + n > self.budget.limit:
            raise ApiError(413, "the images of this request need more memory than the server has for all")
        if not self.budget.take(n):
            raise ApiError(429, "the requests in flight hold all memory that is allowed", retry_after=1)
        self.count += n

    def release(self) -> None:
        """Give all back; a second time nothing."""
        count, self.count = self.count, 0
        self.budget.give_back(count)
