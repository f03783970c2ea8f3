"""Rollouts on vLLM in this process."""

from __future__ import annotations

import gc
import queue
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from reasoner_rm.config import EngineSection
from reasoner_rm.errors import InputError
from reasoner_rm.models.loading import Vlm
from reasoner_rm.models.prompt_encoder import PromptEncoder
from reasoner_rm.rollout.base import (
    Capabilities,
    GenerationRequest,
    OptionLogprobs,
    OptionQuery,
    RolloutEngine,
    SamplingParams,
    in_order,
    option_token_ids,
)
from reasoner_rm.rollout.completion import to_completion
from reasoner_rm.rollout.scheduler import Scheduler
from reasoner_rm.rollout.vllm.launch import start
from reasoner_rm.rollout.vllm.step_backend import StepBackend, VllmRequest
from reasoner_rm.schema import Completion
from reasoner_rm.utils.cancellation import on_cancel
from reasoner_rm.utils.memory import release_memory


class VllmEngine(RolloutEngine):
    """One request per prompt with ``n`` completions; all of a call are under way at once, and a prompt is prefilled
    once for all its completions by the prefix cache.

    vLLM takes one seed a request: completion ``i`` is drawn with the request's first seed plus ``i``. It depends on
    nothing else, up to what the batch changes in the last digits of a logit. Any number of threads may call at once.

    Args:
        vlm: the policy, or its shape only (``load_vlm(…, weights=False)``) for a model as it is on disk.
        sync_weights: the engine has no weights until it is handed the policy's (:meth:`update_weights`).
        stats: keep count of prefix-cache hits (:meth:`cached_tokens`).

    Raises:
        InputError: as :func:`start`; later, a prompt that does not fit into the engine's context.
    """

    capabilities = Capabilities(concurrent=True, option_logprobs=True)
    encoder: PromptEncoder

    def __init__(
        self,
        vlm: Vlm,
        settings: EngineSection | None = None,
        encoder: PromptEncoder | None = None,
        *,
        sync_weights: bool = False,
        stats: bool = False,
    ):
        self.vlm = vlm
        self.encoder = encoder or PromptEncoder(vlm)
        self.llm = start(vlm, settings or EngineSection(), sync_weights=sync_weights, stats=stats)
        self.sleeps = self.llm.llm_engine.model_config.enable_sleep_mode
        self._scheduler = Scheduler(StepBackend(self.llm, vlm), "vllm")
        # vLLM's own end destroys the process groups, which other engines and the trainer use.
        self.llm.llm_engine.engine_core._finalizer.detach()
        self._asleep = False
        self.release_memory()

    def computes_with(self, model: torch.nn.Module) -> bool:
        return False

    def generate(self, requests: Sequence[GenerationRequest], sampling: SamplingParams) -> list[tuple[Completion, ...]]:
        return in_order(self.stream(requests, sampling))

    def stream(
        self, requests: Sequence[GenerationRequest], sampling: SamplingParams
    ) -> Iterator[tuple[int, tuple[Completion, ...]]]:
        """Each request's index with its completions, as soon as the last of these is done."""
        greedy = sampling.temperature == 0  # all completions of a prompt are one, and vLLM refuses to draw it twice
        shared = {
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "max_tokens": sampling.max_tokens,
            "stop_token_ids": list(self.vlm.stop_token_ids),
            "ignore_eos": True,  # all that stops is among them
            "logprobs": 0 if sampling.top_p == 1 else None,  # it has none but those within the nucleus
            "flat_logprobs": True,
        }
        asked = [
            VllmRequest(
                self.encoder.encode(r.prompt), shared | {"n": 1 if greedy else len(r.seeds), "seed": r.seeds[0]}
            )
            for r in requests
        ]
        for index, output in self.run(asked):
            completions = tuple(
                to_completion(self.vlm, o.token_ids, o.logprobs.logprobs if o.logprobs else ()) for o in output.outputs
            )
            yield index, completions * (len(requests[index].seeds) if greedy else 1)

    def run(self, requests: Sequence[VllmRequest]) -> Iterator[tuple[int, Any]]:
        """Indices with vLLM's own outputs, in the order in which they are finished. All are queued at once; requests
        that the caller stops waiting for are aborted."""
        for request in requests:
            self._check_length(request)
        finished: queue.SimpleQueue[int] = queue.SimpleQueue()
        futures = self._scheduler.submit(requests)
        for i, future in enumerate(futures):
            future.add_done_callback(lambda _, index=i: finished.put(index))  # type: ignore[misc]
        try:
            with on_cancel(lambda: self._scheduler.cancel(futures)):
                for _ in futures:
                    index = finished.get()
                    yield index, futures[index].result()
        finally:
            self._scheduler.cancel(futures)

    def option_logprobs(self, queries: Sequence[OptionQuery]) -> list[list[OptionLogprobs]]:
        """One new token per prefix, with the log-probabilities of exactly the option tokens; all are one batch. The
        prefix cache holds the images and the prompt that a query's prefixes share. Log-probabilities of the prompt are
        never asked for, which would bypass that cache."""
        answers: list[list[OptionLogprobs]] = [[None] * len(q.prefixes) for q in queries]
        places: list[tuple[int, int]] = []
        requests: list[VllmRequest] = []
        for i, query in enumerate(queries):
            prompt = self.encoder.encode(query.prompt)
            for j, prefix in enumerate(query.prefixes):
                tokens = option_token_ids(prefix, query.options, self.vlm.tokenizer)
                if tokens is not None:
                    places.append((i, j))
                    requests.append(VllmRequest(prompt, _one_token(tokens[1]), tokens[0]))
        for index, output in self.run(requests):
            i, j = places[index]
            found = output.outputs[0].logprobs[0]
            answers[i][j] = [found[token].logprob for token in requests[index].sampling["logprob_token_ids"]]
        return answers

    def update_weights(self, weights: Iterable[tuple[str, Tensor]]) -> None:
        """Load the policy's weights under their checkpoint's names, and forget what was computed with the old ones.

        Raises:
            RuntimeError: some of the engine's weights were not among them.
        """
        engine = self.llm.llm_engine
        if self._asleep:
            torch.cuda.empty_cache()
            engine.wake_up(["weights"])
        model = engine.model_executor.driver_worker.model_runner.model
        missing = {name for name, _ in model.named_parameters()} - set(model.load_weights(weights))
        if missing:
            raise RuntimeError(f"weights that the engine was not handed: {', '.join(sorted(missing)[:5])}")
        if self._asleep:
            engine.wake_up(["kv_cache"])
            self._asleep = False
        engine.reset_prefix_cache()
        engine.reset_encoder_cache()

    def release_memory(self) -> None:
        """Free weights and KV cache until `update_weights`, where vLLM's sleep mode is on."""
        if self.sleeps and not self._asleep:
            self._scheduler.call(lambda: self.llm.llm_engine.sleep(level=2)).result()
            self._asleep = True

    def close(self) -> None:
        """Give all memory back; the engine answers no more. Calls under way fail with a `ServiceError`."""
        self._scheduler.close()
        self.llm.llm_engine.model_executor.shutdown()
        del self.llm, self._scheduler
        gc.unfreeze()  # vLLM hides what it allocates at its start from the collector
        release_memory()

    def cached_tokens(self) -> tuple[int, int]:
        """Prompt tokens so far that the prefix cache had, and all that there were. Needs ``stats``."""
        counts = {metric.name: metric.value for metric in self.llm.get_metrics() if hasattr(metric, "value")}
        return counts["vllm:prefix_cache_hits"], counts["vllm:prefix_cache_queries"]

    def _check_length(self, ask: VllmRequest) -> None:
        room = self.llm.llm_engine.model_config.max_model_len
        given, new = len(ask.prompt.input_ids) + len(ask.prefix_ids), ask.sampling["max_tokens"]
        if given + new > room:
            raise InputError(
                f"a prompt of {given} tokens and {new} new ones do not fit into the engine's {room}",
                remedy="raise engine.max_model_len, or lower max_completion_length or model.max_pixels",
            )


def _one_token(options: list[int]) -> dict[str, Any]:
    return {"max_tokens": 1, "temperature": 0.0, "logprobs": len(options), "logprob_token_ids": options}
