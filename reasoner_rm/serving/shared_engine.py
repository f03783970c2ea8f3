"""One model for many callers: concurrent calls become one batch or, where the engine batches by itself, are passed on
directly; completions are cached."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from reasoner_rm.errors import ServiceError
from reasoner_rm.listener import Listener
from reasoner_rm.rollout import GenerationRequest, RolloutEngine, SamplingParams
from reasoner_rm.rollout.base import Capabilities, OptionLogprobs, OptionQuery
from reasoner_rm.schema import Belief, Completion, Sample
from reasoner_rm.serving.cache import CompletionCache, request_key
from reasoner_rm.serving.request_batcher import RequestBatcher
from reasoner_rm.tasks.render import Template

Work: TypeAlias = SamplingParams | None
"""How requests are sampled; None: option queries. Calls of the same work may share a batch."""

MAX_PREPARED_REQUESTS = 8
"""Calls of up to this number of requests prepare their images before they wait for the model; larger ones would fill
the memory."""


class SharedEngine(RolloutEngine):
    """A rollout engine that any number of threads may call.

    Args:
        model: identifies the model in the cache.
        cache: where completions are kept; None: nowhere.
        deterministic: every request runs alone. Otherwise rounding, and in a near tie a token, may depend on what else
            is in the batch.
        rows: completions that one run holds at most.
    """

    def __init__(
        self,
        engine: RolloutEngine,
        *,
        model: str = "",
        cache: CompletionCache | None = None,
        deterministic: bool = False,
        rows: int = 128,
    ):
        self.engine, self.model, self.cache = engine, model, cache
        self.encoder, self.deterministic = engine.encoder, deterministic
        self.capabilities = Capabilities(True, engine.capabilities.option_logprobs, engine.capabilities.remote)
        self.batcher = RequestBatcher(self._work, _rows, limit=1 if deterministic else rows)
        self._on_batch: Callable[[int, int], None] = lambda callers, items: None

    def generate(self, requests: Sequence[GenerationRequest], sampling: SamplingParams) -> list[tuple[Completion, ...]]:
        if self.cache is None:
            self._prepare(requests)
            return self._ask(sampling, requests)
        keys = [request_key(request, sampling, self.model) for request in requests]
        found = {key: self.cache.get(key) for key in keys}
        new = {key: r for key, r in zip(keys, requests, strict=True) if found[key] is None}
        self._prepare(list(new.values()))
        for key, completions in zip(new, self._ask(sampling, list(new.values())), strict=True):
            self.cache.put(key, completions)
            found[key] = completions
        return [completions for key in keys if (completions := found[key]) is not None]

    def option_logprobs(self, queries: Sequence[OptionQuery]) -> list[list[OptionLogprobs]]:
        return self._ask(None, queries)

    def beliefs(
        self, template: Template, samples: Sequence[Sample], texts: Sequence[Sequence[str]]
    ) -> list[tuple[Belief | None, ...]]:
        """How probable the model itself finds each option after its own reasonings, however little their mass.

        Raises:
            InputError: the engine has no option log-probabilities.
        """
        return Listener(self, template, min_mass=0.0).beliefs(samples, texts)

    def keep_images(self, max_bytes: int) -> None:
        """Limit the engine's cache of processed images, in bytes: callers of a server seldom send one twice."""
        if self.encoder is not None:
            self.encoder.cache_bytes = max_bytes

    def observe(self, on_batch: Callable[[int, int], None]) -> bool:
        if not self.engine.observe(on_batch):
            self.batcher.backend.on_batch = self._on_batch = on_batch
        return True

    def on_failure(self, callback: Callable[[], None]) -> None:
        self.engine.on_failure(callback)

    def close(self) -> None:
        self.batcher.close()
        self.engine.close()

    @property
    def failure(self) -> ServiceError | None:
        return self.engine.failure

    def _prepare(self, requests: Sequence[GenerationRequest]) -> None:
        """Process the images of a small call in its own thread, while the model is busy with others'.

        Raises:
            InputError: a missing or broken image.
        """
        if self.encoder is not None and len(requests) <= MAX_PREPARED_REQUESTS:
            for request in requests:
                for image in request.prompt.images:
                    self.encoder.process(image)

    def _ask(self, work: Work, items: Sequence[Any]) -> list[Any]:
        if self.deterministic or not self.engine.capabilities.concurrent:
            return self.batcher(work, items)
        answers = list(self._work(work, [*items]))
        self._on_batch(1, len(answers))
        return answers

    def _work(self, work: Work, items: list[Any]) -> Sequence[Any]:
        def run(some: list[Any]) -> Sequence[Any]:
            return self.engine.option_logprobs(some) if work is None else self.engine.generate(some, work)

        if self.deterministic:
            return [run([item])[0] for item in items]
        return run(items) if items else []


def _rows(item: GenerationRequest | OptionQuery) -> int:
    return len(item.seeds) if isinstance(item, GenerationRequest) else len(item.prefixes)
