"""Rollouts on vLLM in this process."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

from reasoner_rm.config import EngineSection
from reasoner_rm.errors import InputError
from reasoner_rm.policy.loading import Vlm
from reasoner_rm.policy.prompts import EncodedPrompt, PromptEncoder
from reasoner_rm.rollout.protocol import Request, Sampling
from reasoner_rm.rollout.reading import read
from reasoner_rm.rollout.vllm.inputs import engine_input
from reasoner_rm.rollout.vllm.start import start
from reasoner_rm.schema import Completion


class VllmEngine:
    """One request per prompt with ``n`` completions; all of a call are under way at once, and a prompt is prefilled
    once for all its completions by the prefix cache.

    vLLM takes one seed a request: completion ``i`` is drawn with the request's first seed plus ``i``. It depends on
    nothing else, up to what the batch changes in the last digits of a logit.

    Args:
        vlm: the policy, or its shape only (``load_vlm(…, weights=False)``) for a model as it is on disk.
        following: the engine has no weights of its own until it is handed the policy's.
    """

    def __init__(
        self,
        vlm: Vlm,
        settings: EngineSection | None = None,
        encoder: PromptEncoder | None = None,
        *,
        following: bool = False,
        stats: bool = False,
    ):
        self.vlm = vlm
        self.encoder = encoder or PromptEncoder(vlm)
        self.llm = start(vlm, settings or EngineSection(), following=following, stats=stats)
        self._ids = itertools.count()

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[tuple[Completion, ...]]:
        answers = dict(self.stream(requests, sampling))
        return [answers[i] for i in range(len(requests))]

    def stream(
        self, requests: Sequence[Request], sampling: Sampling
    ) -> Iterator[tuple[int, tuple[Completion, ...]]]:
        """Each request's index with its completions, as soon as the last of these is done."""
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        under_way: dict[str, int] = {}
        for index, request in enumerate(requests):
            prompt = self.encoder.encode(request.prompt)
            self._check_length(prompt, sampling.max_tokens)
            params = SamplingParams(
                n=len(request.seeds),
                seed=request.seeds[0],
                temperature=sampling.temperature,
                max_tokens=sampling.max_tokens,
                stop_token_ids=list(self.vlm.stop),
                logprobs=0,
                flat_logprobs=True,
                detokenize=False,
                output_kind=RequestOutputKind.FINAL_ONLY,
            )
            under_way[self.submit(engine_input(self.llm, self.vlm, prompt), params)] = index
        for output in self.finished(under_way):
            completions = tuple(read(self.vlm, o.token_ids, o.logprobs.logprobs) for o in output.outputs)
            yield under_way[output.request_id], completions

    def submit(self, prompt: Any, params: Any) -> str:
        """Queue a request; its id."""
        name = str(next(self._ids))
        self.llm.llm_engine.add_request(name, prompt, params)
        return name

    def finished(self, names: Any) -> Iterator[Any]:
        """Outputs in the order in which they are done. What is not waited for to its end is called off."""
        left = set(names)
        try:
            while left:
                for output in self.llm.llm_engine.step():
                    left.discard(output.request_id)
                    yield output
        finally:
            if left:
                self.llm.llm_engine.abort_request(list(left))

    def _check_length(self, prompt: EncodedPrompt, new: int) -> None:
        room = self.llm.llm_engine.model_config.max_model_len
        if len(prompt.input_ids) + new > room:
            raise InputError(
                f"a prompt of {len(prompt.input_ids)} tokens and {new} new ones do not fit into {room}",
                remedy="raise engine.max_model_len, or lower max_completion_length or model.max_pixels",
            )
