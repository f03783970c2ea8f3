"""Metrics of single answers: their scores by a rule, counts of a confusion matrix, and best-of-N selection."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

from reasoner_rm.evaluation.box_metrics import average_precision_metrics, box_score
from reasoner_rm.evaluation.intervals import Array
from reasoner_rm.evaluation.pairwise import is_pairwise, pairwise_accuracy
from reasoner_rm.evaluation.pairwise import vote_score as pairwise_vote_score
from reasoner_rm.evaluation.predictions import AnsweredItem, Prediction
from reasoner_rm.evaluation.protocol import MetricFn, Protocol
from reasoner_rm.evaluation.results import ItemScores
from reasoner_rm.evaluation.verdict_parsers import parse_completion
from reasoner_rm.schema import Sample
from reasoner_rm.tasks import get_task
from reasoner_rm.tasks.box_task import Localisation

AnswerScorer: TypeAlias = Callable[[Any, Sample], float | None]
"""How right a parsed answer is; None if the gold cannot say."""


def answer_accuracy(scorer: AnswerScorer, name: str = "accuracy") -> MetricFn:
    """The mean score of the votes; an unreadable one is worth 0, or is left out."""

    def metric(items: Sequence[AnsweredItem], protocol: Protocol) -> ItemScores:
        return ItemScores.of_scores([i.sample for i in items], [mean_score(i, protocol, scorer) for i in items], name)

    metric.__name__ = f"answer_accuracy_{scorer.__name__.strip('_')}"
    return metric


def mean_score(item: AnsweredItem, protocol: Protocol, scorer: AnswerScorer) -> float | None:
    """The mean score of an item's votes; None if nothing counts."""
    scores = []
    for vote in protocol.counted(item):
        answer = item.parse(vote, protocol.parser)
        if answer is not None:
            scores.append(scorer(answer, item.sample))
        elif protocol.unparsed == "wrong":
            scores.append(0.0)
    return mean_of_known(scores)


def task_vote_score(item: AnsweredItem, prediction: Prediction, protocol: Protocol) -> float | None:
    """How right a vote is by the rule of the item's task, 0..1; an unreadable one 0. None if the gold is a tie."""
    return task_vote_scores([(item, prediction)], protocol)[0]


def task_vote_scores(votes: Sequence[tuple[AnsweredItem, Prediction]], protocol: Protocol) -> list[float | None]:
    """``task_vote_score`` of every vote. The answers to one task are graded together: formulas in one batch."""
    scores: list[float | None] = []
    answers: dict[str, dict[int, tuple[str, Sample]]] = defaultdict(dict)
    for place, (item, prediction) in enumerate(votes):
        task = get_task(item.sample.task)
        if is_pairwise(item):
            scores.append(pairwise_vote_score(item, prediction, protocol))
        elif task.reference_answer(item.sample) is None:
            scores.append(None)
        elif isinstance(task, Localisation):
            scores.append(box_score(item, prediction, protocol))
        else:
            scores.append(0.0)
            parsed = item.parse(prediction, parse_completion)
            if parsed is not None and parsed.answer is not None:
                answers[task.name][place] = parsed.answer, item.sample
    for name, found in answers.items():
        for place, grade in zip(found, get_task(name).grade_all(list(found.values())), strict=True):
            scores[place] = grade
    return scores


def task_accuracy(items: Sequence[AnsweredItem], protocol: Protocol) -> ItemScores:
    """Pairs as pairs; any other task by its own rule of what is right, with average precision for detection."""
    if items and is_pairwise(items[0]):
        return pairwise_accuracy(items, protocol)
    votes = [protocol.counted(item) for item in items]
    found = iter(task_vote_scores([(i, vote) for i, own in zip(items, votes, strict=True) for vote in own], protocol))
    scores = [mean_of_known(list(itertools.islice(found, len(own)))) for own in votes]
    detection = [item for item in items if item.sample.task == "detection"]
    also = average_precision_metrics(detection, protocol) if detection else {}
    return ItemScores.of_scores([i.sample for i in items], scores, also=also)


def mean_of_known(values: Sequence[float | None]) -> float | None:
    """The mean of the values that are not None; None without any."""
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else None


# --- counts of true and false, positive and negative ---


def confusion_columns(cells: Sequence[tuple[int, int, int, int] | None]) -> tuple[Array, list[Any]]:
    """Columns (true positive, false positive, false negative, true negative), and each item's share of right ones."""
    columns = np.array([(0, 0, 0, 0) if c is None else c for c in cells], dtype=np.float64).reshape(-1, 4)
    scores = [None if c is None or not sum(c) else (c[0] + c[3]) / sum(c) for c in cells]
    return columns, scores


def confusion_cells(predicted: Sequence[int], gold: Sequence[int]) -> tuple[int, int, int, int]:
    """Counts of aligned 0 and 1: true positive, false positive, false negative, true negative."""
    pairs = list(zip(predicted, gold, strict=True))
    return pairs.count((1, 1)), pairs.count((1, 0)), pairs.count((0, 1)), pairs.count((0, 0))


def ratio(over: Callable[[Array], Array], under: Callable[[Array], Array], empty: float = 0.0) -> Any:
    """A statistic that divides two sums; ``empty`` where there is nothing below, NaN where nothing was counted."""

    def statistic(sums: Array) -> Array:
        a, b = over(sums), under(sums)
        with np.errstate(invalid="ignore", divide="ignore"):
            value = np.where(b > 0, a / b, empty)
        return np.asarray(np.where(sums[..., :4].sum(-1) > 0, value, np.nan))

    return statistic


accuracy_of = ratio(lambda s: s[..., 0] + s[..., 3], lambda s: s[..., :4].sum(-1))
precision_of = ratio(lambda s: s[..., 0], lambda s: s[..., 0] + s[..., 1])
recall_of = ratio(lambda s: s[..., 0], lambda s: s[..., 0] + s[..., 2])
f1_of = ratio(lambda s: 2 * s[..., 0], lambda s: 2 * s[..., 0] + s[..., 1] + s[..., 2])
negative_f1_of = ratio(lambda s: 2 * s[..., 3], lambda s: 2 * s[..., 3] + s[..., 1] + s[..., 2])
yes_ratio_of = ratio(lambda s: s[..., 0] + s[..., 1], lambda s: s[..., :4].sum(-1))


def rare_weighted_f1(sums: Array) -> Array:
    """VLRMBench: F1 of either class, each weighted by the share of the other, so that the rare one weighs more."""
    positive, negative = sums[..., 0] + sums[..., 2], sums[..., 1] + sums[..., 3]
    with np.errstate(invalid="ignore", divide="ignore"):
        w = negative / (positive + negative)
    return np.asarray(w * f1_of(sums) + (1 - w) * negative_f1_of(sums))


def best_of_n(score: Callable[[Any], float], name: str = "accuracy of the picked") -> MetricFn:
    """Of the candidates that share a ``group_id`` the one with the greatest score is picked, the first of equals;
    whether it is right (``gold.correct``) is what counts. An unreadable candidate is never picked over a readable one.
    """

    def metric(items: Sequence[AnsweredItem], protocol: Protocol) -> ItemScores:
        groups: dict[str, list[AnsweredItem]] = {}
        for item in items:
            groups.setdefault(item.sample.group_id, []).append(item)
        samples, scores = [], list[float | None]()
        for members in groups.values():
            rated = [_rating(item, protocol, score) for item in members]
            best = max(range(len(members)), key=lambda i: rated[i])
            samples.append(members[0].sample)
            scores.append(float(bool(members[best].sample.gold["correct"])))
        return ItemScores.of_scores(samples, scores, name)

    metric.__name__ = f"best_of_n_by_{score.__name__.strip('_')}"
    return metric


def _rating(item: AnsweredItem, protocol: Protocol, score: Callable[[Any], float]) -> float:
    values = [score(v) for vote in protocol.counted(item) if (v := item.parse(vote, protocol.parser)) is not None]
    return math.fsum(values) / len(values) if values else -math.inf


def mean_of(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
