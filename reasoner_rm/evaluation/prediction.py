"""Asking a judge about a benchmark, item by item: what was answered stays answered when the run is killed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol, TypeAlias

import numpy as np
from tqdm import tqdm

from reasoner_rm.errors import InputError
from reasoner_rm.evaluation.protocol import Protocol as Rules
from reasoner_rm.evaluation.votes import Vote, shown
from reasoner_rm.models.box_converter import BoxConverter
from reasoner_rm.rollout import GenerationRequest, RolloutEngine, SamplingParams
from reasoner_rm.sampling.votes import Order
from reasoner_rm.schema import PAIRWISE_TASKS, Sample
from reasoner_rm.tasks import get_task
from reasoner_rm.tasks.box_task import Localisation
from reasoner_rm.tasks.boxes import Boxes
from reasoner_rm.tasks.render import Template, render
from reasoner_rm.utils.journal import Journal
from reasoner_rm.utils.seeding import stable_seed

BATCH = 32
"""Items whose votes are asked for at once: what a kill loses at most."""


@dataclass(frozen=True, slots=True)
class Ask:
    """An item as it is shown, and the numbers of the votes wanted of it."""

    sample: Sample
    order: Order
    votes: tuple[int, ...]


class Predictor(Protocol):
    """What can be evaluated: gives each ask's votes, in order."""

    def __call__(self, asks: Sequence[Ask]) -> list[list[Vote]]: ...


class EngineJudge:
    """A model behind an engine. Seeds depend on item, order and vote alone.

    Args:
        template: the prompt of each sample; a judge of its own card has one, a protocol may bring its own.
        canvas: where the model writes boxes, so that they can be brought to original pixels.
    """

    def __init__(
        self,
        engine: RolloutEngine,
        template: Callable[[Sample], Template],
        sampling: SamplingParams,
        seed: int = 0,
        canvas: BoxConverter | None = None,
    ):
        self.engine, self.template, self.sampling, self.seed = engine, template, sampling, seed
        self.canvas = canvas

    def __call__(self, asks: Sequence[Ask]) -> list[list[Vote]]:
        requests = [
            GenerationRequest(
                render(ask.sample, self.template(ask.sample)),
                tuple(stable_seed(self.seed, ask.sample.id, ask.order, vote) for vote in ask.votes),
            )
            for ask in asks
        ]
        return [
            [
                Vote(
                    ask.order,
                    number,
                    said.text,
                    tokens=len(said.token_ids) or None,
                    finish=said.finish_reason,
                    scale=self._scale(ask.sample),
                )
                for number, said in zip(ask.votes, completions, strict=True)
            ]
            for ask, completions in zip(asks, self.engine.generate(requests, self.sampling), strict=True)
        ]

    def _scale(self, sample: Sample) -> tuple[float, float] | None:
        """What brings boxes on a sample's image to original pixels."""
        if self.canvas is None or not isinstance(get_task(sample.task), Localisation):
            return None
        one = Boxes(np.array([[0.0, 0.0, 1.0, 1.0]]), ("",))
        x, y = self.canvas.original(one, sample).xyxy[0, 2:]
        return float(x), float(y)


Answer: TypeAlias = "str | int | Sequence[float] | None"
"""A text to be read, the index of a candidate as shown, a score for each candidate, or nothing."""


class CallableJudge:
    """Any Python callable: it is given a sample as shown, and returns an `Answer`. A scalar head gives scores."""

    def __init__(self, judge: Callable[[Sample], Answer]):
        self.judge = judge

    def __call__(self, asks: Sequence[Ask]) -> list[list[Vote]]:
        return [[self._vote(ask, number) for number in ask.votes] for ask in asks]

    def _vote(self, ask: Ask, number: int) -> Vote:
        said = self.judge(ask.sample)
        match said:
            case None:
                return Vote(ask.order, number)
            case str():
                return Vote(ask.order, number, said)
            case bool():
                raise InputError(f"the judge gave {said!r} for item {ask.sample.id!r}", remedy="give 0 or 1, or scores")
            case 0 | 1:
                return Vote(ask.order, number, choice=int(said))
        scores = _scores(said)
        if scores is None or (ask.sample.task in PAIRWISE_TASKS and len(scores) != 2):
            remedy = "give a text, 0 or 1, or a finite score for each candidate"
            raise InputError(f"the judge gave {said!r:.60} for item {ask.sample.id!r}", remedy=remedy)
        return Vote(ask.order, number, scores=scores)


def _scores(said: object) -> tuple[float, ...] | None:
    try:
        scores = tuple(float(value) for value in said) if not isinstance(said, bytes) else ()  # type: ignore[attr-defined]
    except (TypeError, ValueError):
        return None
    return scores if scores and all(map(math.isfinite, scores)) else None


def ask_all(judge: Predictor, samples: Sequence[Sample], rules: Rules, journal: Journal, batch: int = BATCH) -> None:
    """Ask for the votes of every item that the journal does not hold yet; each batch is on disk before the next."""
    todo = [sample for sample in samples if sample.id not in journal.done]
    with tqdm(total=len(samples), initial=len(samples) - len(todo), unit="item", disable=None) as bar:
        for part in batches(todo, batch):
            asks = [ask for sample in part for ask in asks_of(sample, rules)]
            votes: dict[str, list[Vote]] = {sample.id: [] for sample in part}
            for ask, cast in zip(asks, judge(asks), strict=True):
                votes[ask.sample.id] += cast
            for sample in part:
                journal.add(entry(sample.id, votes[sample.id]))
            bar.update(len(part))


def asks_of(sample: Sample, rules: Rules) -> list[Ask]:
    """One for each order in which any vote sees the item."""
    by_order: dict[Order, list[int]] = {}
    for order, number in rules.asked(sample):
        by_order.setdefault(order, []).append(number)
    return [Ask(shown(sample, order), order, tuple(numbers)) for order, numbers in by_order.items()]


def entry(name: str, votes: Iterable[Vote]) -> dict[str, Any]:
    """An item's line in a predictions file."""
    return {"id": name, "votes": [vote.as_json() for vote in votes]}


def batches(items: Iterable[Sample], size: int) -> Iterator[list[Sample]]:
    rest = iter(items)
    while part := list(islice(rest, size)):
        yield part
