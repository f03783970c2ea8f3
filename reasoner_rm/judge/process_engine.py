"""An engine whose model lives in a process of its own, so that preparing, answering and the model share no lock."""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from multiprocessing.util import Finalize
from typing import Any, Literal

from reasoner_rm.errors import ServiceError
from reasoner_rm.judge import model_worker
from reasoner_rm.judge.ipc import BeliefMessage, GenerateMessage, HostMessage, ModelSpec, ProgressMessage, WorkerMessage
from reasoner_rm.models.prompt_encoder import EncodedPrompt, PromptEncoder
from reasoner_rm.rollout import GenerationRequest, RolloutEngine, SamplingParams
from reasoner_rm.rollout.transformers_engine import TransformersEngine
from reasoner_rm.schema import Belief, Completion, Sample
from reasoner_rm.tasks.render import Template

LAST = 10.0
"""Seconds that the process has for its end."""


@dataclass(slots=True)
class _Pending:
    """An answer that is due, and who is told of it as it grows."""

    on_text: Callable[[int, str], None] | None = None
    answer: Future[Any] = field(default_factory=Future)


class ProcessEngine:
    """A `TransformersEngine` in a process of its own. Any number of threads may call: each prepares its own prompts,
    and their rows join those under way (`rollout.joining`).

    Args:
        encoder: of the same model, here.

    Raises:
        InputError: the model cannot be loaded.
        ServiceError: the process ended while it loaded it, for instance because there was no memory.
    """

    schedules: Literal[True] = True

    def __init__(self, model: ModelSpec, encoder: PromptEncoder):
        self.encoder = encoder
        self.failure: ServiceError | None = None
        """Why there are no more answers."""
        self.ended: Callable[[], None] = lambda: None
        """Called when the process has ended though nobody closed it."""
        self.on_batch: Callable[[int], None] = lambda beside: None
        """Told with each answer how many requests were under way together."""
        self._pending: dict[int, _Pending] = {}
        self._tickets = itertools.count()
        self._lock, self._sending, self._closing = threading.Lock(), threading.Lock(), False
        spawned = multiprocessing.get_context("spawn")  # a forked torch may hang
        self._pipe, theirs = spawned.Pipe()
        self.process = spawned.Process(target=model_worker.main, args=(theirs, model), name="model", daemon=True)
        self.process.start()
        theirs.close()
        Finalize(None, self.close, exitpriority=10)  # before multiprocessing waits for its processes
        try:
            wrong = self._pipe.recv()
        except (EOFError, OSError):
            raise self._why() from None
        if wrong is not None:
            raise wrong
        threading.Thread(target=self._listen, name="answers", daemon=True).start()

    def generate(self, requests: Sequence[GenerationRequest], sampling: SamplingParams) -> list[tuple[Completion, ...]]:
        """As of every engine.

        Raises:
            InputError: an image that cannot be used.
            ServiceError: the model's process has ended.
        """
        prompts = [self.encoder.encode(request.prompt) for request in requests]
        asked = [self._draw(p, request, sampling) for p, request in zip(prompts, requests, strict=True)]
        return [pending.answer.result() for pending in asked]

    def beliefs(
        self, template: Template, samples: Sequence[Sample], texts: Sequence[Sequence[str]]
    ) -> list[tuple[Belief | None, ...]]:
        """As of a listener with this model.

        Raises:
            ServiceError: the model's process has ended.
        """
        said = tuple(map(tuple, texts))
        return self._ask(lambda ticket: BeliefMessage(ticket, template, tuple(samples), said)).answer.result()

    def close(self) -> None:
        """End the process; whoever still waits gets a `ServiceError`."""
        self._closing = True
        if self.process.is_alive():
            with contextlib.suppress(OSError), self._sending:
                self._pipe.send(None)
            self.process.join(LAST)
            if self.process.is_alive():
                self.process.kill()

    def _draw(self, prompt: EncodedPrompt, request: GenerationRequest, sampling: SamplingParams) -> _Pending:
        images, watched = _arrays(prompt), request.on_text is not None
        return self._ask(
            lambda ticket: GenerateMessage(ticket, prompt.input_ids, images, request.seeds, sampling, watched),
            request.on_text,
        )

    def _ask(self, letter: Callable[[int], HostMessage], on_text: Callable[[int, str], None] | None = None) -> _Pending:
        pending = _Pending(on_text)
        with self._lock:
            if self.failure is not None:
                raise ServiceError(str(self.failure))
            ticket = next(self._tickets)
            self._pending[ticket] = pending
        with contextlib.suppress(OSError), self._sending:  # when nobody reads, `_listen` says so to everybody
            self._pipe.send(letter(ticket))
        return pending

    def _listen(self) -> None:
        """Hand on what the process says, until it ends."""
        with contextlib.suppress(EOFError, OSError):
            while True:
                self._hand_on(self._pipe.recv())
        gone = self._why()
        with self._lock:
            self.failure, unanswered = gone, list(self._pending.values())
        for pending in unanswered:
            if not pending.answer.done():
                pending.answer.set_exception(ServiceError(str(gone)))
        if not self._closing:
            self.ended()

    def _hand_on(self, on_batch: WorkerMessage) -> None:
        if isinstance(on_batch, ProgressMessage):
            return self._show(self._pending[on_batch.request_id], on_batch)
        pending = self._pending.pop(on_batch.request_id)
        self.on_batch(on_batch.batch_size)
        if pending.answer.done():  # its watcher failed
            return
        if isinstance(on_batch.result, Exception):
            pending.answer.set_exception(on_batch.result)
        else:
            pending.answer.set_result(on_batch.result)

    def _show(self, pending: _Pending, grown: ProgressMessage) -> None:
        """Tell a watcher; one that fails fails its own call, as in this process, and nobody else's."""
        try:
            if pending.on_text is not None:
                pending.on_text(grown.index, grown.text)
        except Exception as error:
            pending.on_text = None
            pending.answer.set_exception(error)

    def _why(self) -> ServiceError:
        self.process.join(LAST)
        code = self.process.exitcode
        how = f"by {signal.Signals(-code).name}" if code is not None and code < 0 else f"with exit code {code}"
        return ServiceError(f"the model's process was ended {how}" if code else "the model's process has ended")


@dataclass(frozen=True, slots=True)
class EngineListener:
    """The model of an `ApartEngine` as a listener; no belief is left out for its little mass."""

    engine: ProcessEngine
    template: Template

    def beliefs(self, samples: Sequence[Sample], texts: Sequence[Sequence[str]]) -> list[tuple[Belief | None, ...]]:
        return self.engine.beliefs(self.template, samples, texts)


def open_process_engine(model: ModelSpec) -> RolloutEngine:
    """An `ApartEngine`; a model of no known family, whose rows cannot join others, is opened in this process.

    Raises:
        InputError, ServiceError: as of the engine.
    """
    vlm = model.load(weights=False)
    return ProcessEngine(model, PromptEncoder(vlm)) if vlm.family.supports_packing else TransformersEngine(model.load())


def _arrays(prompt: EncodedPrompt) -> tuple[tuple[Any, ...], ...]:
    """Its images' fields: tensors would travel through shared memory, which containers often keep small."""
    return tuple((i.key, i.pixel_values.numpy(), i.grid_thw.numpy(), i.original, i.processed) for i in prompt.images)
