"""The process that holds a model for `judge.apart`: it reads from a pipe what is asked, and answers as rows end."""

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
"""New prompts are read as soon as there is one for so many rows under way, which stand still meanwhile …"""
MAX_PREFILL_DELAY = 16
"""… or after so many steps."""
MAX_PREFILL_TOKENS = 16_384
"""Tokens, padding included, of the prompts that are read at once; one alone may have more."""


def main(pipe: Connection, model: ModelSpec) -> None:
    """Load a model, say None or what is wrong with it, and answer until nobody holds the pipe's other end. A signal to
    the whole group of processes does not end the model: those inside are to be answered."""
    os.dup2(2, 1)  # standard output is the parent's
    for stop in (signal.SIGINT, signal.SIGTERM):
        signal.signal(stop, signal.SIG_IGN)
    tqdm.set_lock(threading.RLock())  # its own is a semaphore of the system, which a killed process leaves behind
    try:
        worker = Worker(pipe, model)
    except InputError as error:
        return pipe.send(error)
    gc.freeze()  # what was loaded need not be looked through again and again
    with contextlib.suppress(EOFError, ConnectionError):
        pipe.send(None)
        while True:
            worker.run_once()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # what libraries say when they are torn down


class Worker:
    """Hears in one thread; in the other takes what has come, lets requests join, and draws a token a row, in turn."""

    def __init__(self, pipe: Connection, model: ModelSpec):
        from reasoner_rm.rollout.continuous_batching import ContinuousBatch
        from reasoner_rm.rollout.transformers_engine import TransformersEngine

        self.engine = TransformersEngine(model.load(), rows=model.rows)
        self.pipe, self.rows = pipe, model.rows
        self.batch = ContinuousBatch(self.engine.vlm, self.engine.encoder)
        self.waiting: deque[DecodeJob] = deque()
        self.waited = 0
        self.heard: queue.SimpleQueue[HostMessage] = queue.SimpleQueue()
        threading.Thread(target=self._hear, name="ear", daemon=True).start()

    def _hear(self) -> None:
        """A message of many pixels arrives in pieces: the model does not wait for them."""
        try:
            while True:
                self.heard.put(self.pipe.recv())
        except (EOFError, OSError):
            self.heard.put(None)

    def run_once(self) -> None:
        """Raises:
        EOFError, ConnectionError: nobody asks any more.
        """
        while not (self.batch or self.waiting) or not self.heard.empty():
            self._take(self.heard.get())
        if joining := self._joining():
            self.waited = 0
            for _ in joining:
                self.waiting.popleft()
            self._join(joining)
        if self.batch:
            self._step()

    def _take(self, asked: HostMessage) -> None:
        match asked:
            case GenerateMessage():
                self.waiting.append(self._job(asked))
            case OptionMessage():
                self.pipe.send(Answer(asked.request_id, self._option_logprobs(asked)))
            case None:
                raise EOFError

    def _option_logprobs(self, asked: OptionMessage) -> Any:
        try:
            return self.engine.option_logprobs(asked.queries)
        except Exception as error:
            return _told(error)

    def _job(self, asked: GenerateMessage) -> DecodeJob:
        import torch

        from reasoner_rm.models.image_processing import EncodedImage
        from reasoner_rm.models.prompt_encoder import EncodedPrompt
        from reasoner_rm.rollout.continuous_batching import DecodeJob

        images = tuple(
            EncodedImage(key, torch.from_numpy(pixels), torch.from_numpy(grid), *sizes)
            for key, pixels, grid, *sizes in asked.images
        )

        def grown(index: int, text: str) -> None:
            self.pipe.send(ProgressMessage(asked.request_id, index, text))

        prompt, on_text = EncodedPrompt(asked.input_ids, images), grown if asked.watched else None
        return DecodeJob(asked.request_id, prompt, asked.seeds, asked.sampling, on_text)

    def _joining(self) -> list[DecodeJob]:
        """Those of the waiting who are read now: as many as there is room for, with equally many rows each; nobody
        while they are too few for a halt."""
        taken: list[DecodeJob] = []
        rows, longest = len(self.batch), 0
        for job in self.waiting:
            rows, longest = rows + len(job.seeds), max(longest, len(job.prompt.input_ids))
            fits = rows <= self.rows and longest * (len(taken) + 1) <= MAX_PREFILL_TOKENS
            if (not fits and (taken or self.batch)) or len(job.seeds) != len(self.waiting[0].seeds):
                break
            taken.append(job)
        if taken and len(taken) * PREFILL_RATIO < len(self.batch) and self.waited < MAX_PREFILL_DELAY:
            self.waited += 1
            return []
        return taken

    def _join(self, jobs: Sequence[DecodeJob]) -> None:
        """When it fails, one by one, so that an error finds its own request."""
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
        except ConnectionError:  # one who watches is gone, and everybody else with him
            raise
        except Exception as error:
            self.batch.clear()
            return self._fail(beside, error)
        for job in done:
            self.pipe.send(Answer(job.key, job.completions, len(beside)))

    def _fail(self, jobs: Sequence[DecodeJob], error: Exception) -> None:
        for job in jobs:
            self.pipe.send(Answer(job.key, _told(error)))


def _told(error: Exception) -> Exception:
    """An error as it can travel; what nobody expects is shown here."""
    if isinstance(error, InputError):
        return error
    traceback.print_exception(error)
    return RuntimeError(f"{type(error).__name__}: {error}")
