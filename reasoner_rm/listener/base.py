"""What every listener asks, and how it reads the answers. A listener of its own only says how probable options are."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from reasoner_rm.listener.reasoning_text import extract_reasoning
from reasoner_rm.schema import PAIRWISE_TASKS, Belief, Sample, swap_labels
from reasoner_rm.tasks import get_task
from reasoner_rm.tasks.render import Prompt, Template, render


@dataclass(frozen=True, slots=True)
class ListenerQuery:
    """What is asked about one prompt: how probable is each option after each of the ``stems``? A stem is the beginning
    of an assistant's turn: a reasoning, and the verdict up to where the options part."""

    prompt: Prompt
    prefixes: tuple[str, ...]
    options: tuple[str, ...]


class BaseListener(ABC):
    """Turns completions into questions and option probabilities into beliefs. Subclasses answer.

    Args:
        temperature: of the option logits; above 1 softens the belief.
        strip_verdict: remove verdict sentences from the reasoning before it is heard.
        both_orders: hear the candidates in both orders (relabelled in the reasoning) and average: a second prefill.
        min_mass: beliefs whose options hold less of the vocabulary's probability are None.
    """

    failure_rate = 0.0
    """Share of the last window's questions that whoever answers failed on; each was a None."""
    is_remote = False
    """Whether whoever answers has a device of its own, so that it may be asked while others compute here."""

    def __init__(
        self,
        template: Template,
        *,
        temperature: float = 1.0,
        strip_verdict: bool = False,
        both_orders: bool = False,
        min_mass: float = 0.05,
    ):
        self.template = template
        self.temperature = temperature
        self.strip_verdict = strip_verdict
        self.both_orders = both_orders
        self.min_mass = min_mass

    @contextmanager
    def window(self) -> Iterator[None]:
        """Calls inside are judged together at its end: whether too much of them failed. A call alone is a window."""
        yield

    def state_dict(self) -> dict[str, Any]:
        """What a training that is resumed has to know, as JSON knows it: nothing, for a model of our own."""
        return {}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:  # noqa: B027  # most have nothing to remember
        """Go on from a memory; one of another kind of listener says nothing."""

    @abstractmethod
    def option_logprobs(self, asked: Sequence[ListenerQuery]) -> list[list[Sequence[float] | None]]:
        """For each stem the log-probability of each option at temperature 1, of the whole vocabulary; None where it
        cannot be known."""

    def beliefs(self, samples: Sequence[Sample], texts: Sequence[Sequence[str]]) -> list[tuple[Belief | None, ...]]:
        if not self.both_orders:
            return self._hear(samples, texts)
        nouns = [PAIRWISE_TASKS[s.task].noun for s in samples]
        relabelled = [[swap_labels(t, noun) for t in row] for row, noun in zip(texts, nouns, strict=True)]
        both = self._hear([*samples, *(s.swapped() for s in samples)], [*texts, *relabelled])
        given, other = both[: len(samples)], both[len(samples) :]
        return [tuple(map(_average, a, b)) for a, b in zip(given, other, strict=True)]

    def _hear(self, samples: Sequence[Sample], texts: Sequence[Sequence[str]]) -> list[tuple[Belief | None, ...]]:
        """Each distinct reasoning of a group is asked about once; all groups in one call."""
        stems = [[self._stem(s, t) for t in row] for s, row in zip(samples, texts, strict=True)]
        distinct = [tuple(dict.fromkeys(stem for stem in row if stem is not None)) for row in stems]
        busy = [i for i, row in enumerate(distinct) if row]
        options = [get_task(s.task).options(s) for s in samples]
        answers = self.option_logprobs(
            [ListenerQuery(render(samples[i], self.template), distinct[i], options[i]) for i in busy]
        )
        believed: list[dict[str | None, Belief | None]] = [{} for _ in samples]
        for i, row in zip(busy, answers, strict=True):
            believed[i] = {q: self._belief(options[i], logprobs) for q, logprobs in zip(distinct[i], row, strict=True)}
        return [tuple(believed[i].get(stem) for stem in row) for i, row in enumerate(stems)]

    def _stem(self, sample: Sample, text: str) -> str | None:
        """None when there is nothing to hear, or nothing to choose from."""
        task, said = get_task(sample.task), extract_reasoning(text, self.strip_verdict)
        return None if said is None or len(task.options(sample)) < 2 else f"{said}\n{task.answer_prefix}"

    def _belief(self, options: tuple[str, ...], logprobs: Sequence[float] | None) -> Belief | None:
        if logprobs is None:
            return None
        mass = math.fsum(map(math.exp, logprobs))
        if mass < self.min_mass:
            return None
        top = max(logprobs)
        weights = [math.exp((logprob - top) / self.temperature) for logprob in logprobs]
        return Belief(options, tuple(w / math.fsum(weights) for w in weights), mass)


def option_token_ids(stem: str, options: Sequence[str], tokenizer: Any) -> tuple[list[int], list[int]] | None:
    """Token ids up to where the options part, and the options' token ids; None when they are not single tokens."""
    rows = [tokenizer(stem + option, add_special_tokens=False).input_ids for option in options]
    common = 0
    while all(len(r) > common and r[common] == rows[0][common] for r in rows):
        common += 1
    ends = [r[common:] for r in rows]
    if any(len(end) != 1 for end in ends) or common == 0:
        return None
    return rows[0][:common], [end[0] for end in ends]


def _average(a: Belief | None, b: Belief | None) -> Belief | None:
    """The belief of both orders, in the first one's terms."""
    if a is None or b is None:
        return None
    probs = tuple((p + q) / 2 for p, q in zip(a.probs, reversed(b.probs), strict=True))
    return Belief(a.options, probs, (a.option_mass + b.option_mass) / 2, abs(a.probs[0] - b.probs[-1]))
