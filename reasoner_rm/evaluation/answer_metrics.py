"""What is counted where no pair is judged: marks of single answers, and figures over all of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from reasoner_rm.evaluation.intervals import Array
from reasoner_rm.evaluation.pairwise import pairs
from reasoner_rm.evaluation.protocol import Measure, Protocol
from reasoner_rm.evaluation.results import ItemScores, Marker
from reasoner_rm.evaluation.votes import AnsweredItem
from reasoner_rm.schema import PAIRWISE_TASKS
from reasoner_rm.tasks import get_task


def answer_accuracy(mark: Marker, name: str = "accuracy") -> Measure:
    """The mean mark of the votes; an unreadable one is worth 0, or is left out."""

    def measure(items: Sequence[AnsweredItem], protocol: Protocol) -> ItemScores:
        return ItemScores.of_scores([i.sample for i in items], [marked(i, protocol, mark) for i in items], name)

    measure.__name__ = f"marks_{mark.__name__.strip('_')}"
    return measure


def marked(item: AnsweredItem, protocol: Protocol, mark: Marker) -> float | None:
    """The mean mark of an item; None if nothing counts."""
    values = []
    for vote in protocol.counted(item):
        value = item.said(vote, protocol.reader)
        if value is not None:
            values.append(mark(value, item.sample))
        elif protocol.unparsed == "wrong":
            values.append(0.0)
    known = [v for v in values if v is not None]
    return math.fsum(known) / len(known) if known else None


def by_task_rules(items: Sequence[AnsweredItem], protocol: Protocol) -> ItemScores:
    """Pairs as pairs; any other task by its own rule of what is right."""
    if items and items[0].sample.task in PAIRWISE_TASKS:
        return pairs(items, protocol)

    def right(item: AnsweredItem) -> float | None:
        task = get_task(item.sample.task)
        if task.reference_answer(item.sample) is None:
            return None
        worth = []
        for vote in protocol.counted(item):
            answer = task.parse(vote.text or "", item.sample).answer
            worth.append(0.0 if answer is None else task.grade(answer, item.sample))
        known = [w for w in worth if w is not None]
        return math.fsum(known) / len(known) if known else None

    return ItemScores.of_scores([i.sample for i in items], [right(i) for i in items])


# --- counts of true and false, positive and negative ---


def confused(
    items: Sequence[AnsweredItem], cells: Sequence[tuple[int, int, int, int] | None]
) -> tuple[Array, list[Any]]:
    """Columns (true positive, false positive, false negative, true negative), and each item's share of right ones."""
    columns = np.array([(0, 0, 0, 0) if c is None else c for c in cells], dtype=np.float64).reshape(-1, 4)
    scores = [None if c is None or not sum(c) else (c[0] + c[3]) / sum(c) for c in cells]
    return columns, scores


def cells_of(said: Sequence[int], gold: Sequence[int]) -> tuple[int, int, int, int]:
    """Counts of aligned 0 and 1: true positive, false positive, false negative, true negative."""
    pairs_ = list(zip(said, gold, strict=True))
    return pairs_.count((1, 1)), pairs_.count((1, 0)), pairs_.count((0, 1)), pairs_.count((0, 0))


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


def best_of_n(score: Callable[[Any], float], name: str = "accuracy of the picked") -> Measure:
    """Of the candidates that share a ``group_id`` the one with the greatest score is picked, the first of equals;
    whether it is right (``gold.correct``) is what counts. An unreadable candidate is never picked over a readable one.
    """

    def measure(items: Sequence[AnsweredItem], protocol: Protocol) -> ItemScores:
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

    measure.__name__ = f"best_of_n_by_{score.__name__.strip('_')}"
    return measure


def _rating(item: AnsweredItem, protocol: Protocol, score: Callable[[Any], float]) -> float:
    values = [score(v) for vote in protocol.counted(item) if (v := item.said(vote, protocol.reader)) is not None]
    return math.fsum(values) / len(values) if values else -math.inf


def mean_of(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
