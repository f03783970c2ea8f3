"""How a window is heard: at once when it is whole, or, by a listener that answers elsewhere, while it is rolled out."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

from reasoner_rm.listener.base import BaseListener
from reasoner_rm.listener.protocol import Listener
from reasoner_rm.schema import Belief, Group

Beliefs = tuple[Belief | None, ...]

GROUPS = 32
"""Groups that are asked about at once; how many requests these become is the endpoint's own limit."""


class OverlappedListening:
    """Hears the groups of one window; what it hears does not depend on when.

    A listener on this device waits for the last group and hears all of them in one batch: asked earlier, it would take
    from the rollout what it gives.

    Raises:
        ServiceError: at the end of the `with` block, when whoever answers failed too often in this window.
    """

    def __init__(self, listener: Listener | None):
        self.listener = listener
        self._groups: dict[int, Group] = {}
        self._under_way: dict[int, Future[tuple[Beliefs, float, float]]] = {}
        self._at_end = ExitStack()
        self._workers: ThreadPoolExecutor | None = None
        self.overlap_seconds = 0.0
        """Seconds of listening that the rollout covered, once `beliefs` has been called."""

    def __enter__(self) -> OverlappedListening:
        if isinstance(self.listener, BaseListener) and self.listener.is_remote:
            self._at_end.enter_context(self.listener.window())
            self._workers = ThreadPoolExecutor(GROUPS, thread_name_prefix="listener")
            self._at_end.callback(self._workers.shutdown, cancel_futures=True)
        return self

    def __exit__(self, *error: Any) -> None:
        self._at_end.__exit__(*error)

    def submit(self, place: int, group: Group) -> None:
        """A group of the window is there."""
        self._groups[place] = group
        if self._workers is not None:
            self._under_way[place] = self._workers.submit(self._timed, group)

    def beliefs(self) -> list[Beliefs | None]:
        """What is believed of each group, by place, once all are there; None without a listener."""
        places = sorted(self._groups)
        if self.listener is None:
            return [None] * len(places)
        if self._workers is None:
            groups = [self._groups[i] for i in places]
            return list(self.listener.beliefs([g.sample for g in groups], [_texts(g) for g in groups]))
        waited_from = time.monotonic()
        heard = [self._under_way[i].result() for i in places]
        self.overlap_seconds = _covered((began, min(ended, waited_from)) for _, began, ended in heard)
        return [beliefs for beliefs, _, _ in heard]

    def _timed(self, group: Group) -> tuple[Beliefs, float, float]:
        assert self.listener is not None
        began = time.monotonic()
        (beliefs,) = self.listener.beliefs([group.sample], [_texts(group)])
        return beliefs, began, time.monotonic()


def _texts(group: Group) -> Sequence[str]:
    return [c.text for c in group.completions]


def _covered(spans: Iterable[tuple[float, float]]) -> float:
    """How long at least one of these spans lasts."""
    total, reached = 0.0, 0.0
    for began, ended in sorted(spans):
        total += max(0.0, ended - max(began, reached))
        reached = max(reached, ended)
    return total
