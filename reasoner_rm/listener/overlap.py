"""When a rollout batch is read by the listener: at once when it is whole, or, by a listener on a device of its own,
while it is rolled out."""

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
"""Groups that are asked about at once; how many requests these become is the endpoint's own limit."""


class OverlappedListening:
    """Collects the beliefs about the groups of one rollout batch. The beliefs do not depend on when they are asked for.

    A listener on this device waits for the last group and reads all of them in one batch: asked earlier, it would slow
    down the rollout by as much as it gains.

    Attributes:
        overlap_seconds: of the listening, how much the rollout covered; known once :meth:`beliefs` has been called.

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

    def submit(self, place: int, group: Group) -> None:
        """Hand over a group of the batch that is complete."""
        self._groups[place] = group
        if self._workers is not None:
            self._pending[place] = self._workers.submit(self._timed, group)

    def beliefs(self) -> list[Beliefs | None]:
        """The beliefs about each group, by place, once all are there; None without a listener."""
        places = sorted(self._groups)
        if self.listener is None:
            return [None] * len(places)
        if self._workers is None:
            groups = [self._groups[i] for i in places]
            return list(self.listener.beliefs([g.sample for g in groups], [_texts(g) for g in groups]))
        waited_from = time.monotonic()
        found = [self._pending[i].result() for i in places]
        self.overlap_seconds = _covered((began, min(ended, waited_from)) for _, began, ended in found)
        return [beliefs for beliefs, _, _ in found]

    def _timed(self, group: Group) -> tuple[Beliefs, float, float]:
        assert self.listener is not None
        began = time.monotonic()
        (beliefs,) = self.listener.beliefs([group.sample], [_texts(group)])
        return beliefs, began, time.monotonic()


def _texts(group: Group) -> Sequence[str]:
    return [c.text for c in group.completions]


def _covered(intervals: Iterable[tuple[float, float]]) -> float:
    """How long at least one of these intervals lasts."""
    total, reached = 0.0, 0.0
    for began, ended in sorted(intervals):
        total += max(0.0, ended - max(began, reached))
        reached = max(reached, ended)
    return total
