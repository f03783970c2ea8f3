"""One vLLM for several threads: a waiting caller that finds it idle runs its next step, for all callers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any


class StepScheduler:
    """vLLM's engine is not thread-safe, but batches what is queued: each step advances the requests of all callers.

    Args:
        engine: a `vllm.LLM`'s own, which gives one output per request, when it is finished.
    """

    def __init__(self, engine: Any):
        self.engine = engine
        self._condition = threading.Condition()
        self._busy = False
        self._queueing = 0
        self._done: dict[str, Any] = {}

    def exclusive(self, do: Callable[[Any], None]) -> None:
        """Call ``do`` with the engine, between two steps."""
        with self._condition:
            self._queueing += 1
            self._condition.wait_for(lambda: not self._busy)
            self._queueing -= 1
            self._busy = True
        try:
            do(self.engine)
        finally:
            self._leave()

    def wait(self, names: set[str]) -> Iterator[Any]:
        """The outputs of queued requests as they finish; each name is removed from ``names`` first."""
        while names:
            with self._condition:
                # callers that queue requests go first, so that the next step includes them
                self._condition.wait_for(lambda: names & self._done.keys() or not (self._busy or self._queueing))
                ready = [self._done.pop(name) for name in names & self._done.keys()]
                steps = not ready
                self._busy |= steps
            if steps:
                self._step()
            for output in ready:
                names.remove(output.request_id)
                yield output

    def abort(self, names: set[str]) -> None:
        """Abort these requests and drop their outputs."""
        self.exclusive(lambda engine: engine.abort_request(list(names)))
        with self._condition:
            for name in names:
                self._done.pop(name, None)

    def _step(self) -> None:
        outputs: Sequence[Any] = ()
        try:
            outputs = self.engine.step()
        finally:
            self._leave(outputs)

    def _leave(self, outputs: Sequence[Any] = ()) -> None:
        with self._condition:
            self._done |= {output.request_id: output for output in outputs}
            self._busy = False
            self._condition.notify_all()
