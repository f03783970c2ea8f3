"""One model for many callers: their calls are merged or, where the engine does that itself, handed on at once; what was
drawn before is remembered."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeAlias

from reasoner_rm.errors import InputError, ServiceError
from reasoner_rm.judge.cache import CompletionCache, request_key
from reasoner_rm.judge.process_engine import EngineListener, ProcessEngine
from reasoner_rm.judge.request_batcher import RequestBatcher
from reasoner_rm.listener import Listener
from reasoner_rm.models.prompt_encoder import PromptEncoder
from reasoner_rm.rollout import GenerationRequest, RolloutEngine, SamplingParams
from reasoner_rm.rollout.base import ClosableEngine, ConcurrentEngine
from reasoner_rm.schema import Belief, Completion, Sample
from reasoner_rm.tasks.render import Template

Work: TypeAlias = tuple[Literal["generate", "believe"], Any]

SMALL = 8
"""Calls of so many requests prepare their images before they wait for the model; larger ones would fill the memory."""


class SharedEngine:
    """A rollout engine that any number of threads may call.

    Args:
        model: what identifies the model in the cache.
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
        self.deterministic = deterministic
        self.merger = RequestBatcher(self._work, _rows, limit=1 if deterministic else rows)
        self._told: Callable[[int, int], None] = lambda callers, items: None
        self._listeners: dict[str, Listener] = {}

    def generate(self, requests: Sequence[GenerationRequest], sampling: SamplingParams) -> list[tuple[Completion, ...]]:
        if self.cache is None:
            self._prepare(requests)
            return self._ask(("generate", sampling), requests)
        keys = [request_key(request, sampling, self.model) for request in requests]
        found = {key: self.cache.get(key) for key in keys}
        new = {key: r for key, r in zip(keys, requests, strict=True) if found[key] is None}
        self._prepare(list(new.values()))
        for key, drawn in zip(new, self._ask(("generate", sampling), list(new.values())), strict=True):
            self.cache.put(key, drawn)
            found[key] = drawn
        return [drawn for key in keys if (drawn := found[key]) is not None]

    def beliefs(
        self, template: Template, samples: Sequence[Sample], texts: Sequence[Sequence[str]]
    ) -> list[tuple[Belief | None, ...]]:
        """How probable the model itself finds each option after its own reasonings.

        Raises:
            InputError: the engine cannot tell.
        """
        return self._ask(("believe", template), list(zip(samples, texts, strict=True)))

    def keep_images(self, max_bytes: int) -> None:
        """Keep processed images up to so many bytes, where the engine keeps any: strangers seldom send one twice."""
        encoder = getattr(self.engine, "encoder", None)
        if isinstance(encoder, PromptEncoder):
            encoder.cache_bytes = max_bytes

    def report_to(self, on_batch: Callable[[int, int], None]) -> None:
        """Say of each run of the model, or each answer of one that others join, how many callers and items it had."""
        if isinstance(self.engine, ProcessEngine):
            self.engine.on_batch = lambda beside: on_batch(beside, 1)
        else:
            self.merger.on_batch = self._told = on_batch

    def on_end(self, ended: Callable[[], None]) -> None:
        """What to do when the model's process, where it has one of its own, ends unasked."""
        if isinstance(self.engine, ProcessEngine):
            self.engine.ended = ended
            if self.engine.failure:
                ended()

    def close(self) -> None:
        """Give back what the engine holds; it answers nothing more."""
        if isinstance(self.engine, ClosableEngine):
            self.engine.close()

    @property
    def failure(self) -> ServiceError | None:
        """Why there are no more answers, where the model was in a process of its own, which has ended."""
        return self.engine.failure if isinstance(self.engine, ProcessEngine) else None

    def _prepare(self, requests: Sequence[GenerationRequest]) -> None:
        """Process the images of a small call in its own thread, while the model is busy with others'.

        Raises:
            InputError: a missing or broken image.
        """
        encoder = getattr(self.engine, "encoder", None)
        if isinstance(encoder, PromptEncoder) and len(requests) <= SMALL:
            for request in requests:
                for image in request.prompt.images:
                    encoder.process(image)

    def _ask(self, key: Work, items: Sequence[Any]) -> list[Any]:
        if self.deterministic or not isinstance(self.engine, ConcurrentEngine):
            return self.merger(key, items)
        answers = list(self._work(key, [*items]))
        self._told(1, len(answers))
        return answers

    def _work(self, key: Work, items: list[Any]) -> Sequence[Any]:
        kind, setting = key
        if kind == "believe":
            listener = self._listener(setting)
            return (
                [listener.beliefs([s], [t])[0] for s, t in items]
                if self.deterministic
                else listener.beliefs([s for s, _ in items], [t for _, t in items])
            )
        if self.deterministic:
            return [self.engine.generate([request], setting)[0] for request in items]
        return self.engine.generate(items, setting) if items else []

    def _listener(self, template: Template) -> Listener:
        if template.hash not in self._listeners:
            self._listeners[template.hash] = self_listener(self.engine, template)
        return self._listeners[template.hash]


def self_listener(engine: RolloutEngine, template: Template, min_mass: float = 0.0) -> Listener:
    """The engine's own model as a listener.

    Args:
        min_mass: as in `AskingListener`.

    Raises:
        InputError: the engine does not say how probable its options are.
    """
    from reasoner_rm.listener.http_listener import RemoteListener
    from reasoner_rm.listener.transformers_listener import TransformersListener
    from reasoner_rm.listener.vllm_listener import VllmListener
    from reasoner_rm.rollout.http_engine import HttpEngine
    from reasoner_rm.rollout.transformers_engine import TransformersEngine
    from reasoner_rm.rollout.vllm.engine import VllmEngine

    if isinstance(engine, TransformersEngine):
        listener = TransformersListener(engine.vlm, template, min_mass=min_mass, rows=engine.rows)
        listener.encoder = engine.encoder  # images that were just judged are not processed again
        return listener
    if isinstance(engine, ProcessEngine):
        return EngineListener(engine, template)
    if isinstance(engine, HttpEngine):
        return RemoteListener(engine.endpoint, template, min_mass=min_mass)
    if isinstance(engine, VllmEngine):
        return VllmListener(engine, template, min_mass=min_mass)
    raise InputError(
        f"{type(engine).__name__} does not tell its options' probabilities",
        remedy="take p_first from votes, or use transformers or vLLM in this process",
    )


def _rows(item: Any) -> int:
    return len(item.seeds) if isinstance(item, GenerationRequest) else len(item[1])
