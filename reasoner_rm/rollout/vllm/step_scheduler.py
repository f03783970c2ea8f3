"""One vLLM for several threads: whoever waits for an answer and finds it idle steps it, for all."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any


class StepScheduler:
    """vLLM's engine stands no two threads, but batches whatever is queued: each step carries everybody's requests on.

    Args:
        engine: a `vllm.LLM`'s own, whose outputs come once a request.
    """

    def __init__(self, engine: Any):
        self.engine = engine
        self._turn = threading.Condition()
        self._busy = False
        self._queueing = 0
        self._done: dict[str, Any] = {}

    def exclusive(self, do: Callable[[Any], None]) -> None:
        """Do something with the engine between two steps."""
        with self._turn:
            self._queueing += 1
            self._turn.wait_for(lambda: not self._busy)
            self._queueing -= 1
            self._busy = True
        try:
            do(self.engine)
        finally:
            self._leave()

    def wait(self, names: set[str]) -> Iterator[Any]:
        """The outputs of requests that were queued, as they are done; each name is gone from ``names`` before."""
        while names:
            with self._turn:
                # who wants to queue goes first, so that the next step has it, too
                self._turn.wait_for(lambda: names & self._done.keys() or not (self._busy or self._queueing))
                ready = [self._done.pop(name) for name in names & self._done.keys()]
                steps = not ready
                self._busy |= steps
            if steps:
                self._step()
            for output in ready:
                names.remove(output.request_id)
                yield output

    def abort(self, names: set[str]) -> None:
        """Wait for these no longer."""
        self.exclusive(lambda engine: engine.abort_request(list(names)))
        with self._turn:
            for name in names:
                self._done.pop(name, None)

    def _step(self) -> None:
        outputs: Sequence[Any] = ()
        try:
            outputs = self.engine.step()
        finally:
            self._leave(outputs)

    def _leave(self, outputs: Sequence[Any] = ()) -> None:
        with self._turn:
            self._done |= {output.request_id: output for output in outputs}
            self._busy = False
            self._turn.notify_all()
