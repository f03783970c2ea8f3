"""What can be evaluated: a model behind an engine, or any Python callable; and how it is asked about items."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, TypeAlias
from typing import Protocol as Interface

import numpy as np
from tqdm import tqdm

from reasoner_rm.errors import InputError
from reasoner_rm.evaluation.predictions import AnsweredItem, Prediction
from reasoner_rm.evaluation.protocol import Protocol
from reasoner_rm.models.box_converter import BoxConverter
from reasoner_rm.rollout import RolloutEngine, SamplingParams
from reasoner_rm.sampling.votes import Order, Query, in_order, sample_completions
from reasoner_rm.schema import PAIRWISE_TASKS, Sample
from reasoner_rm.tasks import get_task
from reasoner_rm.tasks.box_task import Localisation
from reasoner_rm.tasks.boxes import Boxes
from reasoner_rm.tasks.render import Template
from reasoner_rm.utils.journal import Journal
from reasoner_rm.utils.progress import redrawn

BATCH = 32
"""Items whose votes are asked for in one call: a kill loses at most so many."""


class Predictor(Interface):
    """Gives the votes of every query, in order."""

    def __call__(self, queries: Sequence[Query]) -> list[list[Prediction]]: ...


class EnginePredictor:
    """A model behind an engine. Seeds depend on item, order and vote alone.

    Args:
        template: the prompt template of each sample.
        box_converter: converts the boxes that the model writes to original pixels; None: they are in these already.
    """

    def __init__(
        self,
        engine: RolloutEngine,
        template: Callable[[Sample], Template],
        sampling: SamplingParams,
        seed: int = 0,
        box_converter: BoxConverter | None = None,
    ):
        self.engine, self.template, self.sampling, self.seed = engine, template, sampling, seed
        self.box_converter = box_converter

    def __call__(self, queries: Sequence[Query]) -> list[list[Prediction]]:
        completions = sample_completions(self.engine, queries, self.template, self.sampling, seed=self.seed)
        return [
            [
                Prediction(
                    query.order,
                    number,
                    completion.text,
                    tokens=len(completion.token_ids) or None,
                    finish=completion.finish_reason,
                    scale=self._scale(query.sample),
                )
                for number, completion in zip(query.votes, row, strict=True)
            ]
            for query, row in zip(queries, completions, strict=True)
        ]

    def _scale(self, sample: Sample) -> tuple[float, float] | None:
        """The factors that convert boxes on a sample's image to original pixels."""
        if self.box_converter is None or not isinstance(get_task(sample.task), Localisation):
            return None
        unit = Boxes(np.array([[0.0, 0.0, 1.0, 1.0]]), ("",))
        x, y = self.box_converter.original(unit, sample).xyxy[0, 2:]
        return float(x), float(y)


Answer: TypeAlias = "str | int | Sequence[float] | None"
"""A text to be parsed, the index of a candidate as shown, a score for each candidate, or nothing."""


class CallablePredictor:
    """Any Python callable: it is given a sample as shown, and returns an `Answer`. A scalar head gives scores."""

    def __init__(self, judge: Callable[[Sample], Answer]):
        self.judge = judge

    def __call__(self, queries: Sequence[Query]) -> list[list[Prediction]]:
        return [[self._prediction(query, number) for number in query.votes] for query in queries]

    def _prediction(self, query: Query, number: int) -> Prediction:
        answer = self.judge(query.sample)
        match answer:
            case None:
                return Prediction(query.order, number)
            case str():
                return Prediction(query.order, number, answer)
            case bool():
                what = f"the judge gave {answer!r} for item {query.sample.id!r}"
                raise InputError(what, remedy="give 0 or 1, or scores")
            case 0 | 1:
                return Prediction(query.order, number, choice=int(answer))
        scores = _scores(answer)
        if scores is None or (query.sample.task in PAIRWISE_TASKS and len(scores) != 2):
            remedy = "give a text, 0 or 1, or a finite score for each candidate"
            raise InputError(f"the judge gave {answer!r:.60} for item {query.sample.id!r}", remedy=remedy)
        return Prediction(query.order, number, scores=scores)


def _scores(answer: object) -> tuple[float, ...] | None:
    try:
        scores = tuple(float(value) for value in answer) if not isinstance(answer, bytes) else ()  # type: ignore[attr-defined]
    except (TypeError, ValueError):
        return None
    return scores if scores and all(map(math.isfinite, scores)) else None


def predict(predictor: Predictor, samples: Sequence[Sample], protocol: Protocol) -> list[AnsweredItem]:
    """The samples with the votes that a protocol requires, asked for in one call."""
    queries = [queries_of(sample, protocol) for sample in samples]
    votes = iter(predictor([query for row in queries for query in row]))
    return [
        AnsweredItem(sample, tuple(vote for _ in row for vote in next(votes)))
        for sample, row in zip(samples, queries, strict=True)
    ]


def predict_to_journal(
    predictor: Predictor, samples: Sequence[Sample], protocol: Protocol, journal: Journal, batch: int = BATCH
) -> None:
    """Predict every item that the journal does not hold yet; each batch is on disk before the next begins."""
    missing = [sample for sample in samples if sample.id not in journal.done]
    with tqdm(total=len(samples), initial=len(samples) - len(missing), unit="item", disable=None) as bar, redrawn(bar):
        for part in batches(missing, batch):
            for item in predict(predictor, part, protocol):
                journal.add(journal_row(item.sample.id, item.predictions))
            bar.update(len(part))


def queries_of(sample: Sample, protocol: Protocol) -> list[Query]:
    """One query for each order in which any vote sees the item."""
    by_order: dict[Order, list[int]] = {}
    for order, number in protocol.required_votes(sample):
        by_order.setdefault(order, []).append(number)
    return [Query(in_order(sample, order), order, tuple(numbers)) for order, numbers in by_order.items()]


def journal_row(name: str, predictions: Iterable[Prediction]) -> dict[str, Any]:
    """An item's line in a predictions file."""
    return {"id": name, "votes": [prediction.as_json() for prediction in predictions]}


def votes_of(row: Mapping[str, Any]) -> tuple[Prediction, ...]:
    """The votes of an item's line.

    Raises:
        LookupError, TypeError, ValueError, AttributeError: the line holds none.
    """
    return tuple(Prediction.from_json(vote) for vote in row["votes"])


def batches(items: Iterable[Sample], size: int) -> Iterator[list[Sample]]:
    remaining = iter(items)
    while part := list(islice(remaining, size)):
        yield part
