"""The process that holds the model of a `ProcessEngine`: requests come through a pipe, answers leave as they finish."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import threading
import traceback
from collections import deque
from collections.abc import Collection, Sequence
from concurrent.futures import CancelledError, Future
from functools import partial
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

from tqdm.auto import tqdm

from reasoner_rm.errors import InputError
from reasoner_rm.rollout.scheduler import Backend, Job, Scheduler
from reasoner_rm.serving.ipc import (
    Answer,
    CancelMessage,
    GenerateMessage,
    ModelSpec,
    OptionMessage,
    ProgressMessage,
    WorkerMessage,
)

if TYPE_CHECKING:
    from reasoner_rm.rollout.continuous_batching import DecodeJob
    from reasoner_rm.rollout.transformers_engine import TransformersEngine

PREFILL_RATIO = 2
"""Waiting prompts are prefilled, which halts decoding, once there is one for this number of running rows …"""
MAX_PREFILL_DELAY = 16
"""… or after this number of steps."""
MAX_PREFILL_TOKENS = 16_384
"""Tokens, padding included, of the prompts that are read at once; one alone may have more."""


def main(pipe: Connection, model: ModelSpec) -> None:
    """Load a model, send None or its `InputError`, and answer until the pipe's other end is closed. SIGINT and SIGTERM
    are ignored, so that requests in flight are answered."""
    os.dup2(2, 1)  # standard output is the parent's
    for stop in (signal.SIGINT, signal.SIGTERM):
        signal.signal(stop, signal.SIG_IGN)
    tqdm.set_lock(threading.RLock())  # its own is a semaphore of the system, which a killed process leaves behind
    try:
        worker = Worker(pipe, model)
    except InputError as error:
        return pipe.send(error)
    gc.freeze()  # the garbage collector need not scan the loaded model
    with contextlib.suppress(EOFError, OSError):
        pipe.send(None)
        worker.serve()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # messages of libraries at exit


class Worker:
    """The main thread receives messages, so that decoding does not wait for large images to arrive; the scheduler's
    owner thread runs the model and sends the answers."""

    def __init__(self, pipe: Connection, model: ModelSpec):
        from reasoner_rm.rollout.transformers_engine import TransformersEngine

        self.pipe = pipe
        self.engine = TransformersEngine(model.load(), rows=model.rows)
        self.scheduler = Scheduler(BatchBackend(self.engine, model.rows))
        self._futures: dict[int, Future[Any]] = {}
        self._sending = threading.Lock()

    def serve(self) -> None:
        """Receive messages until None.

        Raises:
            EOFError, OSError: the other process has closed the pipe or ended.
        """
        while (message := self.pipe.recv()) is not None:
            if isinstance(message, CancelMessage):
                self.scheduler.cancel([*filter(None, [self._futures.get(message.request_id)])])
                continue
            future = self._futures[message.request_id] = self._future(message)
            future.add_done_callback(partial(self._answer, message.request_id))

    def _future(self, message: GenerateMessage | OptionMessage) -> Future[Any]:
        """The future of (result, requests under way together)."""
        match message:
            case GenerateMessage():
                return self.scheduler.submit([self._job(message)])[0]
            case OptionMessage():
                return self.scheduler.call(lambda: (self.engine.option_logprobs(message.queries), 1))

    def _answer(self, request_id: int, future: Future[Any]) -> None:
        del self._futures[request_id]
        error = CancelledError() if future.cancelled() else future.exception()
        result, batch_size = future.result() if error is None else (_picklable(error), 1)
        with contextlib.suppress(OSError):  # the pipe is closed: no caller is left
            self._send(Answer(request_id, result, batch_size))

    def _send(self, message: WorkerMessage) -> None:
        with self._sending:
            self.pipe.send(message)

    def _job(self, message: GenerateMessage) -> DecodeJob:
        import torch

        from reasoner_rm.models.image_processing import EncodedImage
        from reasoner_rm.models.prompt_encoder import EncodedPrompt
        from reasoner_rm.rollout.continuous_batching import DecodeJob

        images = tuple(
            EncodedImage(key, torch.from_numpy(pixels), torch.from_numpy(grid), *sizes)
            for key, pixels, grid, *sizes in message.images
        )

        def send_text(index: int, text: str) -> None:
            self._send(ProgressMessage(message.request_id, index, text))

        prompt, on_text = EncodedPrompt(message.input_ids, images), send_text if message.watched else None
        return DecodeJob(prompt, message.seeds, message.sampling, on_text)


class BatchBackend(Backend["DecodeJob"]):
    """A continuous batch as the backend of a scheduler: it prefills waiting prompts and decodes a token per row, in
    turn. A job's result is its completions, and how many jobs ran together in the step that finished it.

    Args:
        rows: that are decoded side by side.
    """

    def __init__(self, engine: TransformersEngine, rows: int):
        from reasoner_rm.rollout.continuous_batching import ContinuousBatch

        self.rows = rows
        self.batch = ContinuousBatch(engine.vlm, engine.encoder)
        self._jobs: dict[DecodeJob, Job[DecodeJob]] = {}
        self._steps_without_prefill = 0

    @property
    def running(self) -> Collection[Job[DecodeJob]]:
        return self._jobs.values()

    def admit(self, waiting: deque[Job[DecodeJob]]) -> None:
        joining = self._joining(waiting)
        if joining:
            self._steps_without_prefill = 0
            for _ in joining:
                waiting.popleft()
            self._join(joining)

    def step(self) -> None:
        together = len(self._jobs)
        for decoded in self.batch.step():
            job = self._jobs.pop(decoded)
            if decoded.error is not None:
                job.fail(decoded.error)
            else:
                job.finish((decoded.completions, together))

    def abort(self, jobs: Sequence[Job[DecodeJob]]) -> None:
        for job in jobs:
            del self._jobs[job.request]
        self.batch.drop([job.request for job in jobs])

    def reset(self) -> None:
        self.batch.clear()
        self._jobs.clear()

    def _joining(self, waiting: Sequence[Job[DecodeJob]]) -> list[Job[DecodeJob]]:
        """The waiting jobs to prefill now: as many as there is room for, with equally many rows each; none while they
        are too few to halt decoding for them."""
        taken: list[Job[DecodeJob]] = []
        rows, longest, count = len(self.batch), 0, len(waiting[0].request.seeds)
        for job in waiting:
            rows = rows + len(job.request.seeds)
            longest = max(longest, len(job.request.prompt.input_ids))
            fits = rows <= self.rows and longest * (len(taken) + 1) <= MAX_PREFILL_TOKENS
            if (not fits and (taken or self.batch)) or len(job.request.seeds) != count:
                break
            taken.append(job)
        too_few = len(taken) * PREFILL_RATIO < len(self.batch)
        if taken and too_few and self._steps_without_prefill < MAX_PREFILL_DELAY:
            self._steps_without_prefill += 1
            return []
        return taken

    def _join(self, jobs: Sequence[Job[DecodeJob]]) -> None:
        """Prefill jobs together; after an error one by one, so that only the request that caused it fails."""
        try:
            self.batch.join([job.request for job in jobs])
        except Exception as error:
            if len(jobs) == 1:
                return jobs[0].fail(error)
            for job in jobs:
                self._join([job])
        else:
            self._jobs |= {job.request: job for job in jobs}


def _picklable(error: BaseException) -> Exception:
    """An error that can be pickled; the traceback of an unexpected one is printed here."""
    if isinstance(error, (InputError, CancelledError)):
        return error
    traceback.print_exception(error)
    return RuntimeError(f"{type(error).__name__}: {error}")
