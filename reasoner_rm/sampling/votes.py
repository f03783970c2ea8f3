"""Sampling a model's votes on samples: the requests, their seeds and the parsed answers of judge and evaluator."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from reasoner_rm.rollout import GenerationRequest, RolloutEngine, SamplingParams
from reasoner_rm.schema import PAIRWISE_TASKS, Completion, ParsedCompletion, Sample
from reasoner_rm.tasks import get_task
from reasoner_rm.tasks.render import Template, render
from reasoner_rm.utils.seeding import stable_seed

Order = Literal["given", "swapped"]
"""The order in which the candidates of a comparison are shown: the sample's own, or exchanged."""


@dataclass(frozen=True, slots=True)
class Query:
    """A sample in one order, and the numbers of the votes wanted of it. ``sample`` is already in that order."""

    sample: Sample
    order: Order
    votes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Vote:
    """One vote. ``sample`` is in the shown order; ``choice`` is the option picked there, None if unreadable."""

    sample: Sample
    order: Order
    completion: Completion
    parsed: ParsedCompletion
    choice: int | None

    @property
    def candidate(self) -> int | None:
        """The candidate picked, in the caller's order."""
        return self.choice if self.choice is None or self.order == "given" else 1 - self.choice


def orders_of(task: str, both: bool) -> tuple[Order, ...]:
    """The orders in which a task's samples can be shown."""
    return ("given", "swapped") if both and task in PAIRWISE_TASKS else ("given",)


def in_order(sample: Sample, order: Order) -> Sample:
    """The sample as it is shown in an order."""
    return sample if order == "given" else sample.swapped()


def sample_completions(
    engine: RolloutEngine,
    queries: Sequence[Query],
    template: Callable[[Sample], Template],
    sampling: SamplingParams,
    *,
    seed: int = 0,
    on_text: Callable[[str], None] | None = None,
) -> list[tuple[Completion, ...]]:
    """The completions of every query, one for each of its votes. Seeds depend on sample id, order and vote alone.

    Args:
        template: the prompt template of each sample.
        on_text: called with the text of the first query's first vote as it grows, where the engine streams.
    """
    requests = [
        GenerationRequest(
            render(query.sample, template(query.sample)),
            tuple(stable_seed(seed, query.sample.id, query.order, vote) for vote in query.votes),
        )
        for query in queries
    ]
    if on_text is not None and requests:
        first = lambda index, text: on_text(text) if index == 0 else None  # noqa: E731  # one line says it
        requests[0] = dataclasses.replace(requests[0], on_text=first)
    return list(engine.generate(requests, sampling))


def collect_votes(
    engine: RolloutEngine,
    template: Template,
    samples: Sequence[Sample],
    *,
    votes: int = 1,
    both_orders: bool = True,
    sampling: SamplingParams,
    seed: int = 0,
    on_text: Callable[[str], None] | None = None,
) -> list[list[Vote]]:
    """All votes on each sample, parsed: ``votes`` per order; seeds and ``on_text`` as in `sample_completions`."""
    queries = [
        [Query(in_order(sample, order), order, tuple(range(votes))) for order in orders_of(sample.task, both_orders)]
        for sample in samples
    ]
    flat = [query for row in queries for query in row]
    completions = iter(sample_completions(engine, flat, lambda _: template, sampling, seed=seed, on_text=on_text))
    return [[_vote(query, completion) for query in row for completion in next(completions)] for row in queries]


def _vote(query: Query, completion: Completion) -> Vote:
    task = get_task(query.sample.task)
    parsed = task.parse(completion.text, query.sample)
    choice = None if parsed.answer is None else task.option_index(parsed.answer, query.sample)
    return Vote(query.sample, query.order, completion, parsed, choice)
