"""The listener: a frozen model, independent of the policy, that reads a reasoning and gives a probability to
each option (Listener-Rewarded Thinking, arXiv 2506.22832)."""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from reasoner_rm.candidate_labels import swap_labels, swappable
from reasoner_rm.errors import ServiceError
from reasoner_rm.listener.reasoning_text import extract_reasoning
from reasoner_rm.models.loading import Vlm
from reasoner_rm.rollout.base import OptionQuery, RolloutEngine
from reasoner_rm.schema import PAIRWISE_TASKS, Belief, Sample
from reasoner_rm.tasks import get_task
from reasoner_rm.tasks.render import Template, render

if TYPE_CHECKING:
    from reasoner_rm.models.prompt_encoder import PromptEncoder

FAILURE_WINDOW = 512
"""Queries over which the failure rate of a server is computed."""


class Listener:
    """Turns completions into option queries, which an engine answers, and the answers into beliefs.

    Args:
        engine: of a frozen model, or of a judge whose own belief is asked for.
        temperature: of the option logits; above 1 softens the belief.
        strip_verdict: remove verdict sentences from the reasoning before it is read.
        both_orders: read the candidates in both orders (relabelled in the reasoning) and average: a second prefill.
        min_mass: beliefs whose options hold less of the vocabulary's probability are None.
        max_failure_rate: the share of the last questions that a server may fail on. Above it, or when it answers none
            of a batch, a batch raises.

    Attributes:
        failure_rate: share of the last batch's questions that a server failed on; each was a None.
    """

    def __init__(
        self,
        engine: RolloutEngine,
        template: Template,
        *,
        temperature: float = 1.0,
        strip_verdict: bool = False,
        both_orders: bool = False,
        min_mass: float = 0.05,
        max_failure_rate: float = 0.1,
    ):
        self.engine, self.template = engine, template
        self.temperature, self.strip_verdict, self.both_orders = temperature, strip_verdict, both_orders
        self.min_mass, self.max_failure_rate = min_mass, max_failure_rate
        self.failure_rate = 0.0
        self._recent: deque[bool] = deque(maxlen=FAILURE_WINDOW)
        self._lock, self._open = threading.Lock(), 0
        self._answered, self._failures = 0, list[ServiceError]()

    def beliefs(self, samples: Sequence[Sample], texts: Sequence[Sequence[str]]) -> list[tuple[Belief | None, ...]]:
        """A belief for each text of each sample: None where it cannot be asked for (the thought is not closed, options
        are no single tokens), or where the options hold too little probability. With both orders it is their mean, or
        that of the given order alone where a text refers to candidates in another way than by labels.

        Raises:
            ServiceError: a server failed on too many questions, unless a :meth:`batch` is open, which raises at its
                end.
        """
        if not self.both_orders:
            return self._beliefs(samples, texts)
        nouns = [PAIRWISE_TASKS[s.task].noun for s in samples]
        relabelled = [[swap_labels(t, noun) for t in row] for row, noun in zip(texts, nouns, strict=True)]
        both = self._beliefs([*samples, *(s.swapped() for s in samples)], [*texts, *relabelled])
        given, other = both[: len(samples)], both[len(samples) :]
        certain = [[swappable(t, noun) for t in row] for row, noun in zip(texts, nouns, strict=True)]
        return [
            tuple(_average(a, b) if known else a for a, b, known in zip(*row, strict=True))
            for row in zip(given, other, certain, strict=True)
        ]

    # --- failures of a server -----------------------------------------------------------------------------------------

    @contextmanager
    def batch(self) -> Iterator[None]:
        """Calls inside, from any number of threads, are checked together at the end: whether too many questions
        failed. A call alone is a batch."""
        with self._lock:
            self._open += 1
        try:
            yield
        except BaseException:
            self._close()
            raise
        counted = self._close()
        if counted is not None:
            self._check(*counted)

    def _close(self) -> tuple[int, list[ServiceError]] | None:
        """What a batch counted, once no call is inside any more."""
        with self._lock:
            self._open -= 1
            if self._open:
                return None
            counted = self._answered, self._failures
            self._answered, self._failures = 0, []
            return counted

    def _check(self, answered: int, failures: Sequence[ServiceError]) -> None:
        self._recent.extend([False] * answered + [True] * len(failures))
        self.failure_rate = len(failures) / max(1, answered + len(failures))
        share = sum(self._recent) / max(1, len(self._recent))
        if self.failure_rate == 1.0 or (failures and share > self.max_failure_rate):
            raise ServiceError(
                f"the listener failed on {self.failure_rate:.0%} of {answered + len(failures)} questions, and on "
                f"{share:.0%} of the last {len(self._recent)} "
                f"(listener.max_failure_rate is {self.max_failure_rate:.0%}): {failures[-1]}"
            )

    def state_dict(self) -> dict[str, Any]:
        """What a resumed training has to restore. Not which questions failed: a server that came back begins anew."""
        return self.engine.state_dict()

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        self.engine.load_state_dict(state_dict)

    # --- questions and beliefs ----------------------------------------------------------------------------------------

    def _beliefs(self, samples: Sequence[Sample], texts: Sequence[Sequence[str]]) -> list[tuple[Belief | None, ...]]:
        """One query per distinct reasoning of a group; all groups in one call."""
        prefixes = [[self._prefix(s, t) for t in row] for s, row in zip(samples, texts, strict=True)]
        distinct = [tuple(dict.fromkeys(p for p in row if p is not None)) for row in prefixes]
        asked = [i for i, row in enumerate(distinct) if row]
        options = [get_task(s.task).options(s) for s in samples]
        queries = [OptionQuery(render(samples[i], self.template), distinct[i], options[i]) for i in asked]
        beliefs: list[dict[str | None, Belief | None]] = [{} for _ in samples]
        for i, row in zip(asked, self._ask(queries), strict=True):
            beliefs[i] = {p: self._belief(options[i], logprobs) for p, logprobs in zip(distinct[i], row, strict=True)}
        return [tuple(beliefs[i].get(prefix) for prefix in row) for i, row in enumerate(prefixes)]

    def _ask(self, queries: Sequence[OptionQuery]) -> list[list[Sequence[float] | None]]:
        with self.batch():
            answers = self.engine.option_logprobs(queries)
            failures = [a for row in answers for a in row if isinstance(a, ServiceError)]
            with self._lock:
                self._failures += failures
                self._answered += sum(a is not None for row in answers for a in row) - len(failures)
        return [[None if isinstance(a, ServiceError) else a for a in row] for row in answers]

    def _prefix(self, sample: Sample, text: str) -> str | None:
        """None when there is no reasoning to read, or nothing to choose from."""
        task, reasoning = get_task(sample.task), extract_reasoning(text, self.strip_verdict)
        if reasoning is None or len(task.options(sample)) < 2:
            return None
        return f"{reasoning}\n{task.answer_prefix}"

    def _belief(self, options: tuple[str, ...], logprobs: Sequence[float] | None) -> Belief | None:
        if logprobs is None:
            return None
        mass = math.fsum(map(math.exp, logprobs))
        if mass < self.min_mass:
            return None
        top = max(logprobs)
        weights = [math.exp((logprob - top) / self.temperature) for logprob in logprobs]
        return Belief(options, tuple(w / math.fsum(weights) for w in weights), mass)


def frozen_listener(
    vlm: Vlm, template: Template, *, rows: int = 256, encoder: PromptEncoder | None = None, **settings: Any
) -> Listener:
    """A listener on a transformers model in this process. The model is frozen; of a LoRA policy, which goes on being
    trained, the base weights are read.

    Args:
        rows: how many reasonings are read side by side.
        encoder: another engine's of the same model, whose images are then not processed again.
        settings: of :class:`Listener`.
    """
    from reasoner_rm.rollout.transformers_engine import TransformersEngine

    if vlm.adapter is None:
        vlm.model.requires_grad_(False).eval()
    return Listener(TransformersEngine(vlm, encoder, rows), template, **settings)


def _average(a: Belief | None, b: Belief | None) -> Belief | None:
    """The belief of both orders, in the first one's terms."""
    if a is None or b is None:
        return None
    probs = tuple((p + q) / 2 for p, q in zip(a.probs, reversed(b.probs), strict=True))
    return Belief(a.options, probs, (a.option_mass + b.option_mass) / 2, abs(a.probs[0] - b.probs[-1]))
