"""What an engine is: a model that completes prompts, G times each, and says how probable options are."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from reasoner_rm.config import MIN_TEMPERATURE
from reasoner_rm.errors import InputError, ServiceError
from reasoner_rm.schema import Completion
from reasoner_rm.tasks.render import Prompt

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from reasoner_rm.models.prompt_encoder import PromptEncoder

Completions: TypeAlias = tuple[Completion, ...]
"""The G completions of a prompt."""
OptionLogprobs: TypeAlias = Sequence[float] | ServiceError | None
"""The log-probability of each option; None where it cannot be known; the error where a server failed."""


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How completions are sampled.

    Attributes:
        temperature: 0 is greedy, log-probabilities are then those at temperature 1; else at least 0.01.
        max_tokens: the longest a completion may be.
        top_p: in (0, 1], samples from the nucleus alone: the most probable tokens, until they hold that much
            probability (arXiv 1904.09751). Below 1 the sampler is another policy, so that nothing is trained on it.
            Log-probabilities stay those of the whole distribution; an engine that only has those within the nucleus
            reports none.

    Raises:
        InputError: a value out of range.
    """

    temperature: float = 1.0
    max_tokens: int = 1024
    top_p: float = 1.0

    def __post_init__(self) -> None:
        if not (self.temperature == 0 or MIN_TEMPERATURE <= self.temperature < math.inf):
            raise InputError(
                f"temperature is {self.temperature:g}",
                remedy=f"give 0 for greedy decoding, or at least {MIN_TEMPERATURE}",
            )
        if not 0 < self.top_p <= 1:
            raise InputError(f"top_p is {self.top_p:g}", remedy="give more than 0, and at most 1")
        if self.max_tokens < 1:
            raise InputError(f"max_tokens is {self.max_tokens}", remedy="give at least 1")


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """One prompt, and a seed for each completion of it.

    The transformers engine seeds every completion by its own seed. vLLM and servers take one seed a request and derive
    those of its completions: the first of ``seeds`` counts.
    ``on_text`` is called with a completion's index and its text so far, whenever the text has grown; an engine that
    cannot tell never calls it. It must not raise.
    """

    prompt: Prompt
    seeds: tuple[int, ...]
    on_text: Callable[[int, str], None] | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class OptionQuery:
    """How probable is each of the ``options`` after each of the ``prefixes``? A prefix is the beginning of an
    assistant's turn: a reasoning, and the verdict up to where the options differ."""

    prompt: Prompt
    prefixes: tuple[str, ...]
    options: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What an engine can do beyond :meth:`RolloutEngine.generate`.

    Attributes:
        concurrent: any number of threads may call it at once, and it batches their requests by itself.
        option_logprobs: it answers :class:`OptionQuery`.
        remote: it computes on a device of its own, so that it may be asked while others compute here.
    """

    concurrent: bool = False
    option_logprobs: bool = False
    remote: bool = False


class RolloutEngine(ABC):
    """Completes prompts. A subclass defines :meth:`generate`, and overrides the defaults that do not fit it.

    In training, completions need token ids, the stop token included, and their log-probabilities at the sampling
    temperature with the banned tokens at minus infinity; prompts must be tokenised as the trainer does
    (``encoder``); :meth:`update_weights` is collective and reads all weights on every process.

    Attributes:
        encoder: turns prompts into the tokens and pixels that the model reads; None where only a server has them.
    """

    capabilities = Capabilities()
    encoder: PromptEncoder | None = None

    @property
    def failure(self) -> ServiceError | None:
        """The error that ended it; None while it runs."""
        return None

    def computes_with(self, model: torch.nn.Module) -> bool:
        """Whether it computes with this model's weights, which a training then gathers while it is asked, where
        processes share them. By default it may."""
        return True

    @property
    def usage(self) -> str:
        """What was used of a paid server so far, for people to read; empty without one."""
        return ""

    @abstractmethod
    def generate(self, requests: Sequence[GenerationRequest], sampling: SamplingParams) -> list[Completions]:
        """The completions of each request, aligned with the requests."""

    def stream(
        self, requests: Sequence[GenerationRequest], sampling: SamplingParams
    ) -> Iterator[tuple[int, Completions]]:
        """Each request's index with its completions, in whatever order they are ready; every index once. By default
        all of them at the end."""
        yield from enumerate(self.generate(requests, sampling))

    def option_logprobs(self, queries: Sequence[OptionQuery]) -> list[list[OptionLogprobs]]:
        """For each query and prefix the log-probability of each option, of the whole vocabulary at temperature 1. With
        LoRA the transformers engine computes them with the base weights, which is the listener's use.

        Raises:
            InputError: this engine cannot tell.
        """
        raise InputError(
            f"{type(self).__name__} does not tell its options' probabilities",
            remedy="take p_first from votes, or use transformers or vLLM in this process",
        )

    def update_weights(self, weights: Iterable[tuple[str, Tensor]]) -> None:  # noqa: B027
        """Load the policy's weights, by their checkpoint's names and with LoRA merged, and drop caches of the old ones.
        By default the engine computes with the policy's own."""

    def release_memory(self) -> None:  # noqa: B027
        """Free memory until the next `update_weights`: the rollouts of a batch, replacements included, are complete.
        By default the engine holds nothing that it could free."""

    def close(self) -> None:  # noqa: B027
        """Free what the engine holds. It cannot be used afterwards."""

    def observe(self, on_batch: Callable[[int, int], None]) -> bool:
        """Have ``on_batch`` called after each run of the model with (callers, items). False: whoever batches calls of
        this engine has to report them."""
        return False

    def on_failure(self, callback: Callable[[], None]) -> None:  # noqa: B027
        """Have a function called when the engine stops answering though nobody closed it."""

    def state_dict(self) -> dict[str, Any]:
        """What a resumed training has to restore, as JSON."""
        return {}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:  # noqa: B027
        """Restore what :meth:`state_dict` returned; the state of another engine has no effect."""


def in_order(streamed: Iterable[tuple[int, Completions]]) -> list[Completions]:
    """What `stream` gave, aligned with its requests."""
    return [completions for _, completions in sorted(streamed, key=lambda pair: pair[0])]


def option_token_ids(prefix: str, options: Sequence[str], tokenizer: Any) -> tuple[list[int], list[int]] | None:
    """Token ids up to where the options differ, and the options' token ids; None when they are not single tokens."""
    rows = [tokenizer(prefix + option, add_special_tokens=False).input_ids for option in options]
    common = 0
    while all(len(r) > common and r[common] == rows[0][common] for r in rows):
        common += 1
    ends = [r[common:] for r in rows]
    if any(len(end) != 1 for end in ends) or common == 0:
        return None
    return rows[0][:common], [end[0] for end in ends]


Engine = TypeVar("Engine", bound=RolloutEngine)


@contextmanager
def closing(engine: Engine) -> Iterator[Engine]:
    """The engine, closed at the end."""
    try:
        yield engine
    finally:
        engine.close()
