"""What every rollout engine can do: answer prompts, G times each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol, TypeVar, runtime_checkable

from reasoner_rm.schema import Completion
from reasoner_rm.tasks.render import Prompt

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How completions are drawn. ``temperature`` 0 is greedy; log-probabilities are then those at temperature 1.

    ``top_p`` in (0, 1] draws from the nucleus alone: the likeliest tokens, until they hold that much (arXiv
    1904.09751). Below 1 the sampler is another policy, so that nothing is trained on it. Log-probabilities stay those
    of the whole distribution; an engine that only knows those within the nucleus says none.
    """

    temperature: float = 1.0
    max_tokens: int = 1024
    top_p: float = 1.0


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """One prompt and a seed for each completion wanted of it.

    ``on_text`` is told the text so far of a completion, by its index, whenever it has grown; an engine that cannot say
    tells nothing. It must not raise.
    """

    prompt: Prompt
    seeds: tuple[int, ...]
    on_text: Callable[[int, str], None] | None = field(default=None, compare=False)


class RolloutEngine(Protocol):
    """Answers requests; the result is aligned with them, G completions each."""

    def generate(
        self, requests: Sequence[GenerationRequest], sampling: SamplingParams
    ) -> list[tuple[Completion, ...]]: ...


@runtime_checkable
class StreamingEngine(RolloutEngine, Protocol):
    """An engine that hands over groups as they are ready, so that they can be worked on while others are under way."""

    def stream(
        self, requests: Sequence[GenerationRequest], sampling: SamplingParams
    ) -> Iterator[tuple[int, tuple[Completion, ...]]]:
        """Each request's place with its G completions, in whatever order they come; every place once."""
        ...


def iter_completions(
    engine: RolloutEngine, requests: Sequence[GenerationRequest], sampling: SamplingParams
) -> Iterator[tuple[int, tuple[Completion, ...]]]:
    """Each request's place with its completions as they come; from an engine that does not stream, all at the end."""
    if isinstance(engine, StreamingEngine):
        yield from engine.stream(requests, sampling)
    else:
        yield from enumerate(engine.generate(requests, sampling))


def in_order(streamed: Iterable[tuple[int, tuple[Completion, ...]]]) -> list[tuple[Completion, ...]]:
    """What `stream` gave, aligned with its requests."""
    return [completions for _, completions in sorted(streamed, key=lambda pair: pair[0])]


@runtime_checkable
class ConcurrentEngine(RolloutEngine, Protocol):
    """An engine that any number of threads may call at once, and that batches what they ask by itself."""

    schedules: Literal[True]


@runtime_checkable
class WeightSyncEngine(RolloutEngine, Protocol):
    """An engine with weights of its own, which have to be made the policy's before a rollout."""

    def update_weights(self, weights: Iterable[tuple[str, Tensor]]) -> None:
        """Take over weights by their checkpoint's names, and forget what was computed with the old ones."""
        ...


@runtime_checkable
class ClosableEngine(RolloutEngine, Protocol):
    """An engine that holds memory of its own until it is closed."""

    def close(self) -> None: ...


Engine = TypeVar("Engine", bound=RolloutEngine)


@contextmanager
def closing(engine: Engine) -> Iterator[Engine]:
    """The engine, closed at the end where it can be."""
    try:
        yield engine
    finally:
        if isinstance(engine, ClosableEngine):
            engine.close()
