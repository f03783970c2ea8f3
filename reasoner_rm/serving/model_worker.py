"""The process that holds the model of a `ProcessEngine`: requests come through a pipe, answers leave as they finish."""

from __future__ import annotations

import contextlib
import gc
import os
import queue
import signal
import threading
import traceback
from collections import deque
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

from tqdm.auto import tqdm

from reasoner_rm.errors import InputError
from reasoner_rm.serving.ipc import Answer, GenerateMessage, HostMessage, ModelSpec, OptionMessage, ProgressMessage

if TYPE_CHECKING:
    from reasoner_rm.rollout.continuous_batching import DecodeJob

PREFILL_RATIO = 2
"""Waiting prompts are prefilled, which halts decoding, once there is one for so many running rows …"""
MAX_PREFILL_DELAY = 16
"""… or after so many steps."""
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
    with contextlib.suppress(EOFError, ConnectionError):
        pipe.send(None)
        while True:
            worker.run_once()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # messages of libraries at exit


class Worker:
    """One thread receives messages; the other prefills waiting requests and decodes a token per row, in turn."""

    def __init__(self, pipe: Connection, model: ModelSpec):
        from reasoner_rm.rollout.continuous_batching import ContinuousBatch
        from reasoner_rm.rollout.transformers_engine import TransformersEngine

        self.engine = TransformersEngine(model.load(), rows=model.rows)
        self.pipe, self.rows = pipe, model.rows
        self.batch = ContinuousBatch(self.engine.vlm, self.engine.encoder)
        self.waiting: deque[DecodeJob] = deque()
        self.prefill_delay = 0
        self.inbox: queue.SimpleQueue[HostMessage] = queue.SimpleQueue()
        threading.Thread(target=self._receive, name="receiver", daemon=True).start()

    def _receive(self) -> None:
        """Receive messages. In a thread of its own, so that decoding does not wait for large images to arrive."""
        try:
            while True:
                self.inbox.put(self.pipe.recv())
        except (EOFError, OSError):
            self.inbox.put(None)

    def run_once(self) -> None:
        """Raises:
        EOFError, ConnectionError: the other process has closed the pipe or ended.
        """
        while not (self.batch or self.waiting) or not self.inbox.empty():
            self._take(self.inbox.get())
        if joining := self._joining():
            self.prefill_delay = 0
            for _ in joining:
                self.waiting.popleft()
            self._join(joining)
        if self.batch:
            self._step()

    def _take(self, message: HostMessage) -> None:
        match message:
            case GenerateMessage():
                self.waiting.append(self._job(message))
            case OptionMessage():
                self.pipe.send(Answer(message.request_id, self._option_logprobs(message)))
            case None:
                raise EOFError

    def _option_logprobs(self, message: OptionMessage) -> Any:
        try:
            return self.engine.option_logprobs(message.queries)
        except Exception as error:
            return _picklable(error)

    def _job(self, message: GenerateMessage) -> DecodeJob:
        import torch

        from reasoner_rm.models.image_processing import EncodedImage
        from reasoner_rm.models.prompt_encoder import EncodedPrompt
        from reasoner_rm.rollout.continuous_batching import DecodeJob

        images = tuple(
            EncodedImage(key, torch.from_numpy(pixels), torch.from_numpy(grid), *sizes)
            for key, pixels, grid, *sizes in message.images
        )

        def grown(index: int, text: str) -> None:
            self.pipe.send(ProgressMessage(message.request_id, index, text))

        prompt, on_text = EncodedPrompt(message.input_ids, images), grown if message.watched else None
        return DecodeJob(message.request_id, prompt, message.seeds, message.sampling, on_text)

    def _joining(self) -> list[DecodeJob]:
        """The waiting jobs to prefill now: as many as there is room for, with equally many rows each; none while they
        are too few to halt decoding for them."""
        taken: list[DecodeJob] = []
        rows, longest = len(self.batch), 0
        for job in self.waiting:
            rows, longest = rows + len(job.seeds), max(longest, len(job.prompt.input_ids))
            fits = rows <= self.rows and longest * (len(taken) + 1) <= MAX_PREFILL_TOKENS
            if (not fits and (taken or self.batch)) or len(job.seeds) != len(self.waiting[0].seeds):
                break
            taken.append(job)
        if taken and len(taken) * PREFILL_RATIO < len(self.batch) and self.prefill_delay < MAX_PREFILL_DELAY:
            self.prefill_delay += 1
            return []
        return taken

    def _join(self, jobs: Sequence[DecodeJob]) -> None:
        """Prefill jobs together; after an error one by one, so that only the request that caused it fails."""
        try:
            self.batch.join(jobs)
        except Exception as error:
            if len(jobs) == 1:
                self._fail(jobs, error)
            else:
                for job in jobs:
                    self._join([job])

    def _step(self) -> None:
        beside = self.batch.jobs
        try:
            done = self.batch.step()
        except ConnectionError:  # the pipe is closed: no caller is left
            raise
        except Exception as error:
            self.batch.clear()
            return self._fail(beside, error)
        for job in done:
            self.pipe.send(Answer(job.key, job.completions, len(beside)))

    def _fail(self, jobs: Sequence[DecodeJob], error: Exception) -> None:
        for job in jobs:
            self.pipe.send(Answer(job.key, _picklable(error)))


def _picklable(error: Exception) -> Exception:
    """An error that can be pickled; the traceback of an unexpected one is printed here."""
    if isinstance(error, InputError):
        return error
    traceback.print_exception(error)
    return RuntimeError(f"{type(error).__name__}: {error}")
