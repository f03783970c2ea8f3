"""vLLM's engine as the backend of a scheduler: each step advances the requests of all callers."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from reasoner_rm.models.loading import Vlm
from reasoner_rm.models.prompt_encoder import EncodedPrompt
from reasoner_rm.rollout.scheduler import Backend, Job
from reasoner_rm.rollout.vllm.inputs import engine_input


@dataclass(frozen=True, slots=True, eq=False)
class VllmRequest:
    """A prompt, tokens of the answer that are given, and settings of vLLM's `SamplingParams`."""

    prompt: EncodedPrompt
    sampling: dict[str, Any]
    prefix_ids: Sequence[int] = ()


class StepBackend(Backend[VllmRequest]):
    """All waiting requests are admitted at once: vLLM has a queue of its own. A job's result is vLLM's own output,
    which comes once, when the request is finished.

    Args:
        llm: a `vllm.LLM`.
    """

    def __init__(self, llm: Any, vlm: Vlm):
        self.llm, self.vlm = llm, vlm
        self._device = torch.cuda.current_device() if torch.cuda.is_available() else None
        self._ids = itertools.count()
        self._jobs: dict[str, Job[VllmRequest]] = {}

    def enter_thread(self) -> None:
        """The current CUDA device belongs to a thread, and a new one begins with device 0."""
        if self._device is not None:
            torch.cuda.set_device(self._device)

    @property
    def running(self) -> Collection[Job[VllmRequest]]:
        return self._jobs.values()

    def admit(self, waiting: deque[Job[VllmRequest]]) -> None:
        while waiting:
            job, request_id = waiting.popleft(), str(next(self._ids))
            try:
                self._add(request_id, job.request)
            except Exception as error:
                job.fail(error)
            else:
                self._jobs[request_id] = job

    def step(self) -> None:
        for output in self.llm.llm_engine.step():
            self._jobs.pop(output.request_id).finish(output)

    def abort(self, jobs: Sequence[Job[VllmRequest]]) -> None:
        request_ids = [request_id for request_id, job in self._jobs.items() if job in jobs]
        self.llm.llm_engine.abort_request(request_ids)
        for request_id in request_ids:
            del self._jobs[request_id]

    def reset(self) -> None:
        self.abort(list(self._jobs.values()))

    def _add(self, request_id: str, request: VllmRequest) -> None:
        import vllm
        from vllm.sampling_params import RequestOutputKind

        params = vllm.SamplingParams(detokenize=False, output_kind=RequestOutputKind.FINAL_ONLY, **request.sampling)
        prompt = engine_input(self.llm, self.vlm, request.prompt, request.prefix_ids)
        self.llm.llm_engine.add_request(request_id, prompt, params)
