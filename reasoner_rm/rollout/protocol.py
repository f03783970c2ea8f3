"""What every rollout engine can do: answer prompts, G times each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from reasoner_rm.schema import Completion
from reasoner_rm.tasks.render import Prompt


@dataclass(frozen=True, slots=True)
class Sampling:
    """How completions are drawn. ``temperature`` 0 is greedy; log-probabilities are then those at temperature 1."""

    temperature: float = 1.0
    max_tokens: int = 1024


@dataclass(frozen=True, slots=True)
class Request:
    """One prompt and a seed for each completion wanted of it.

    ``watch`` is told the text so far of a completion, by its index, whenever it has grown; an engine that cannot say
    tells nothing. It must not raise.
    """

    prompt: Prompt
    seeds: tuple[int, ...]
    watch: Callable[[int, str], None] | None = field(default=None, compare=False)


class RolloutEngine(Protocol):
    """Answers requests; the result is aligned with them, G completions each."""

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[tuple[Completion, ...]]: ...
