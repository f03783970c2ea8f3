"""Overlap of listener and rollout: a remote listener evaluates groups while others are generated, a local one evaluates
the complete rollout batch."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

from reasoner_rm.listener.listener import Listener
from reasoner_rm.schema import Belief, Group

Beliefs = tuple[Belief | None, ...]

CONCURRENT_GROUPS = 32
"""Groups evaluated concurrently; the number of requests is limited by the endpoint's own `concurrency`."""


class OverlappedListening:
    """Collects the beliefs about the groups of one rollout batch. The beliefs do not depend on when they are asked for.

    A listener on this device waits for the last group and reads all of them in one batch: asked earlier, it would slow
    down the rollout by as much as it gains.

    Attributes:
        overlap_seconds: the listener's time that overlapped the rollout; set by :meth:`beliefs`.

    Raises:
        ServiceError: at the end of the `with` block, when the listener's server failed too often.
    """

    def __init__(self, listener: Listener | None):
        self.listener = listener
        self.overlap_seconds = 0.0
        self._groups: dict[int, Group] = {}
        self._pending: dict[int, Future[tuple[Beliefs, float, float]]] = {}
        self._exits = ExitStack()
        self._workers: ThreadPoolExecutor | None = None

    def __enter__(self) -> OverlappedListening:
        if self.listener is not None and self.listener.engine.capabilities.remote:
            self._exits.enter_context(self.listener.batch())
            self._workers = ThreadPoolExecutor(CONCURRENT_GROUPS, thread_name_prefix="listener")
            self._exits.callback(self._workers.shutdown, cancel_futures=True)
        return self

    def __exit__(self, *error: Any) -> None:
        self._exits.__exit__(*error)

    def submit(self, index: int, group: Group) -> None:
        """Add a completed group of the batch, by its index."""
        self._groups[index] = group
        if self._workers is not None:
            self._pending[index] = self._workers.submit(self._timed, group)

    def beliefs(self) -> list[Beliefs | None]:
        """The beliefs about each group, in the order of the indices; waits for all. None without a listener."""
        indices = sorted(self._groups)
        if self.listener is None:
            return [None] * len(indices)
        if self._workers is None:
            groups = [self._groups[i] for i in indices]
            return list(self.listener.beliefs([g.sample for g in groups], [_texts(g) for g in groups]))
        rollout_end = time.monotonic()
        results = [self._pending[i].result() for i in indices]
        self.overlap_seconds = _covered((began, min(ended, rollout_end)) for _, began, ended in results)
        return [beliefs for beliefs, _, _ in results]

    def _timed(self, group: Group) -> tuple[Beliefs, float, float]:
        assert self.listener is not None
        began = time.monotonic()
        (beliefs,) = self.listener.beliefs([group.sample], [_texts(group)])
        return beliefs, began, time.monotonic()


def _texts(group: Group) -> Sequence[str]:
    return [c.text for c in group.completions]


def _covered(intervals: Iterable[tuple[float, float]]) -> float:
    """The length of the union of intervals."""
    total, reached = 0.0, 0.0
    for began, ended in sorted(intervals):
        total += max(0.0, ended - max(began, reached))
        reached = max(reached, ended)
    return total
