"""An engine whose model runs in a process of its own, so that it does not share Python's lock with its callers."""

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
from typing import Any

from reasoner_rm.errors import ServiceError
from reasoner_rm.models.prompt_encoder import EncodedPrompt, PromptEncoder
from reasoner_rm.rollout import GenerationRequest, RolloutEngine, SamplingParams
from reasoner_rm.rollout.base import Capabilities, OptionLogprobs, OptionQuery
from reasoner_rm.rollout.transformers_engine import TransformersEngine
from reasoner_rm.schema import Completion
from reasoner_rm.serving import model_worker
from reasoner_rm.serving.ipc import (
    CancelMessage,
    GenerateMessage,
    HostMessage,
    ModelSpec,
    OptionMessage,
    ProgressMessage,
    WorkerMessage,
)
from reasoner_rm.utils.cancellation import on_cancel

SHUTDOWN_TIMEOUT = 10.0
"""Seconds that the process has to end before it is killed."""


@dataclass(slots=True)
class _Pending:
    """The future of an answer, and the callback for its partial text."""

    request_id: int
    on_text: Callable[[int, str], None] | None = None
    answer: Future[Any] = field(default_factory=Future)


class ProcessEngine(RolloutEngine):
    """A `TransformersEngine` in a process of its own. Any number of threads may call: each prepares its own prompts,
    and their rows join the running batch (`rollout.continuous_batching`).

    Args:
        encoder: of the same model, here.

    Raises:
        InputError: the model cannot be loaded.
        ServiceError: the process ended while it loaded it, for instance because there was no memory.
    """

    capabilities = Capabilities(concurrent=True, option_logprobs=True)
    encoder: PromptEncoder

    def __init__(self, model: ModelSpec, encoder: PromptEncoder):
        self.encoder = encoder
        self._failure: ServiceError | None = None
        self._on_failure: Callable[[], None] = lambda: None
        self._on_batch: Callable[[int, int], None] = lambda callers, items: None
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
        return self._wait([self._draw(p, request, sampling) for p, request in zip(prompts, requests, strict=True)])

    def option_logprobs(self, queries: Sequence[OptionQuery]) -> list[list[OptionLogprobs]]:
        """As of a `TransformersEngine`.

        Raises:
            ServiceError: the model's process has ended.
        """
        answers: list[list[OptionLogprobs]]
        (answers,) = self._wait([self._ask(lambda ticket: OptionMessage(ticket, tuple(queries)))])
        return answers

    @property
    def failure(self) -> ServiceError | None:
        return self._failure

    def observe(self, on_batch: Callable[[int, int], None]) -> bool:
        """Called with each answer: how many requests were under way together."""
        self._on_batch = on_batch
        return True

    def on_failure(self, callback: Callable[[], None]) -> None:
        """Called when the process has ended though nobody closed it; at once, if it has."""
        self._on_failure = callback
        if self._failure is not None:
            callback()

    def close(self) -> None:
        """End the process; pending calls raise a `ServiceError`."""
        self._closing = True
        if self.process.is_alive():
            self._send(None)
            self.process.join(SHUTDOWN_TIMEOUT)
            if self.process.is_alive():
                self.process.kill()

    def _draw(self, prompt: EncodedPrompt, request: GenerationRequest, sampling: SamplingParams) -> _Pending:
        images, watched = _arrays(prompt), request.on_text is not None
        return self._ask(
            lambda ticket: GenerateMessage(ticket, prompt.input_ids, images, request.seeds, sampling, watched),
            request.on_text,
        )

    def _wait(self, asked: Sequence[_Pending]) -> list[Any]:
        """The answers.

        Raises:
            ServiceError: the process has ended. CancelledError: see `utils.cancellation`.
        """
        with on_cancel(lambda: self._send(*(CancelMessage(pending.request_id) for pending in asked))):
            return [pending.answer.result() for pending in asked]

    def _ask(
        self, message_for: Callable[[int], HostMessage], on_text: Callable[[int, str], None] | None = None
    ) -> _Pending:
        with self._lock:
            if self._failure is not None:
                raise ServiceError(str(self._failure))
            pending = _Pending(next(self._tickets), on_text)
            self._pending[pending.request_id] = pending
        self._send(message_for(pending.request_id))
        return pending

    def _send(self, *messages: HostMessage) -> None:
        with contextlib.suppress(OSError), self._sending:  # a closed pipe: `_listen` fails all pending calls
            for message in messages:
                self._pipe.send(message)

    def _listen(self) -> None:
        """Dispatch the process's messages until it ends; then fail all pending calls."""
        with contextlib.suppress(EOFError, OSError):
            while True:
                self._dispatch(self._pipe.recv())
        gone = self._why()
        with self._lock:
            self._failure, unanswered = gone, list(self._pending.values())
        for pending in unanswered:
            if not pending.answer.done():
                pending.answer.set_exception(ServiceError(str(gone)))
        if not self._closing:
            self._on_failure()

    def _dispatch(self, message: WorkerMessage) -> None:
        if isinstance(message, ProgressMessage):
            return self._report_text(self._pending[message.request_id], message)
        pending = self._pending.pop(message.request_id)
        self._on_batch(message.batch_size, 1)
        if pending.answer.done():  # its `on_text` failed
            return
        if isinstance(message.result, Exception):
            pending.answer.set_exception(message.result)
        else:
            pending.answer.set_result(message.result)

    def _report_text(self, pending: _Pending, grown: ProgressMessage) -> None:
        """Call ``on_text``; an error in it fails its own call only."""
        try:
            if pending.on_text is not None:
                pending.on_text(grown.index, grown.text)
        except Exception as error:
            pending.on_text = None
            pending.answer.set_exception(error)

    def _why(self) -> ServiceError:
        self.process.join(SHUTDOWN_TIMEOUT)
        code = self.process.exitcode
        how = f"by {signal.Signals(-code).name}" if code is not None and code < 0 else f"with exit code {code}"
        return ServiceError(f"the model's process was ended {how}" if code else "the model's process has ended")


def open_process_engine(model: ModelSpec) -> RolloutEngine:
    """A `ProcessEngine`; a model of no known family, whose rows cannot join others, is opened in this process.

    Raises:
        InputError, ServiceError: as of the engine.
    """
    vlm = model.load(weights=False)
    return ProcessEngine(model, PromptEncoder(vlm)) if vlm.family.supports_packing else TransformersEngine(model.load())


def _arrays(prompt: EncodedPrompt) -> tuple[tuple[Any, ...], ...]:
    """Its images' fields: tensors would travel through shared memory, which containers often keep small."""
    return tuple((i.key, i.pixel_values.numpy(), i.grid_thw.numpy(), i.original, i.processed) for i in prompt.images)
