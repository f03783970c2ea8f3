"""Asking a model about samples: every vote in every order, as the evaluator and the judge both need it."""

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
    """All votes on each sample: ``votes`` per order. Seeds depend on sample, order and vote alone.

    Args:
        on_text: called with the first vote's text as it grows, where the engine can tell.
    """
    shown: list[tuple[int, Order, Sample]] = []
    for index, sample in enumerate(samples):
        for order in orders_of(sample.task, both_orders):
            shown.append((index, order, sample if order == "given" else sample.swapped()))
    requests = [
        GenerationRequest(
            render(sample, template), tuple(stable_seed(seed, sample.id, order, vote) for vote in range(votes))
        )
        for _, order, sample in shown
    ]
    if on_text is not None and requests:
        first = lambda index, text: on_text(text) if index == 0 else None  # noqa: E731  # one line says it
        requests[0] = dataclasses.replace(requests[0], on_text=first)
    ballots: list[list[Vote]] = [[] for _ in samples]
    for (index, order, sample), completions in zip(shown, engine.generate(requests, sampling), strict=True):
        task = get_task(sample.task)
        for completion in completions:
            parsed = task.parse(completion.text, sample)
            choice = None if parsed.answer is None else task.option_index(parsed.answer, sample)
            ballots[index].append(Vote(sample, order, completion, parsed, choice))
    return ballots
