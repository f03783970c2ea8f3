"""The evaluation of a policy on samples: greedy votes in both orders, a listener's beliefs, and the scores."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reasoner_rm.evaluation.benchmarks.samples import BOTH_ORDERS, SAMPLES, with_ground_truth
from reasoner_rm.evaluation.listener_metrics import ListenerMetrics, listener_metrics
from reasoner_rm.evaluation.predictions import AnsweredItem, Prediction
from reasoner_rm.evaluation.predictors import EnginePredictor, predict
from reasoner_rm.evaluation.protocol import Protocol
from reasoner_rm.evaluation.run_metrics import RunMetrics
from reasoner_rm.evaluation.run_records import record
from reasoner_rm.evaluation.scoring import BenchmarkResult, score
from reasoner_rm.listener import Listener
from reasoner_rm.models.box_converter import BoxConverter
from reasoner_rm.rollout import RolloutEngine, SamplingParams
from reasoner_rm.schema import Sample
from reasoner_rm.tasks.render import Template


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The result of the benchmark `samples` on some samples, and every vote that it was computed from.

    Attributes:
        samples: as they were given, in the same order as ``items``.
        items: the samples with the ground truth as their gold, and the votes on each.
    """

    samples: tuple[Sample, ...]
    items: tuple[AnsweredItem, ...]
    result: BenchmarkResult
    listener: ListenerMetrics

    @classmethod
    def of(cls, samples: Sequence[Sample], items: Sequence[AnsweredItem], protocol: Protocol) -> Evaluation:
        """The evaluation that follows from stored votes."""
        result = score(SAMPLES, items, protocol)
        return cls(tuple(samples), tuple(items), result, listener_metrics(items, protocol))

    @property
    def metrics(self) -> RunMetrics:
        """What `summary.json` holds of it."""
        return RunMetrics.of(self.result, self.items, self.listener)

    def records(self, folder: Path | None = None) -> Iterator[dict[str, Any]]:
        """A plain object per vote, for `evaluations/*.jsonl`; see `record`."""
        for sample, item in zip(self.samples, self.items, strict=True):
            for prediction in item.predictions:
                yield record(sample, item, prediction, self.result.protocol, folder)


def evaluate(
    engine: RolloutEngine,
    template: Template,
    samples: Sequence[Sample],
    *,
    listener: Listener | None = None,
    self_listener: Listener | None = None,
    box_converter: BoxConverter | None = None,
    max_tokens: int = 1024,
    seed: int = 0,
) -> Evaluation:
    """Evaluate under the protocol `both_orders`: one greedy vote on every sample, comparisons in both orders.

    Args:
        listener: gives its belief after each reasoning.
        self_listener: the evaluated model as a listener: the confidence of its own verdict.
        box_converter: converts boxes to original pixels.
    """
    items = greedy_votes(engine, template, samples, box_converter=box_converter, max_tokens=max_tokens, seed=seed)
    if listener is not None:
        items = _with_beliefs(items, listener, lambda vote, probs: dataclasses.replace(vote, listener=probs))
    if self_listener is not None:
        items = _with_beliefs(items, self_listener, lambda vote, probs: dataclasses.replace(vote, confidence=probs))
    return Evaluation.of(samples, items, BOTH_ORDERS.with_options(seed=seed))


def greedy_votes(
    engine: RolloutEngine,
    template: Template,
    samples: Sequence[Sample],
    *,
    box_converter: BoxConverter | None,
    max_tokens: int,
    seed: int,
) -> list[AnsweredItem]:
    """The samples with the votes that :func:`evaluate` scores."""
    predictor = EnginePredictor(engine, lambda _: template, SamplingParams(0.0, max_tokens), seed, box_converter)
    return predict(predictor, [with_ground_truth(sample) for sample in samples], BOTH_ORDERS.with_options(seed=seed))


def _with_beliefs(
    items: list[AnsweredItem],
    listener: Listener,
    annotate: Callable[[Prediction, tuple[float, ...] | None], Prediction],
) -> list[AnsweredItem]:
    """The items with a listener's option probabilities after the reasoning of each vote."""
    votes = [(item.in_order(vote.order), vote) for item in items for vote in item.predictions]
    beliefs = listener.beliefs([sample for sample, _ in votes], [[str(vote.text)] for _, vote in votes])
    annotated = (
        annotate(vote, belief.probs if belief else None) for (_, vote), (belief,) in zip(votes, beliefs, strict=True)
    )
    return [item.with_predictions([next(annotated) for _ in item.predictions]) for item in items]
