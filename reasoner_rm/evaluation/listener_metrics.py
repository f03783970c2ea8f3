"""A listener's beliefs against the judge's verdicts, and the calibration of either one's probabilities."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from reasoner_rm.evaluation.answer_metrics import mean_of_known, task_vote_score
from reasoner_rm.evaluation.calibration import Calibration, calibration
from reasoner_rm.evaluation.predictions import AnsweredItem, Prediction
from reasoner_rm.evaluation.protocol import Protocol
from reasoner_rm.evaluation.verdict_parsers import parse_completion
from reasoner_rm.tasks import get_task


@dataclass(frozen=True, slots=True)
class ListenerMetrics:
    """Shares in 0..1; None where no listener was asked.

    contradiction: readable verdicts that differ from the listener's most probable option after the same reasoning.
    accuracy_agree, accuracy_disagree: accuracy of the votes on which both agree, and of those on which they differ.
    calibration: of ``judge`` and ``listener``, where either was asked: an item's probabilities are the mean over its
        votes, in the item's own order.
    """

    contradiction: float | None
    accuracy_agree: float | None
    accuracy_disagree: float | None
    calibration: Mapping[str, Calibration] = field(default_factory=dict)


def listener_metrics(items: Sequence[AnsweredItem], protocol: Protocol) -> ListenerMetrics:
    """The metrics of stored beliefs, by the tie rule of a protocol."""
    votes = list(_agreements(items, protocol))
    calibrations = {
        "judge": _calibration(items, protocol, "confidence"),
        "listener": _calibration(items, protocol, "listener"),
    }
    return ListenerMetrics(
        contradiction=_mean([float(not agrees) for agrees, _ in votes]),
        accuracy_agree=_mean([score for agrees, score in votes if agrees]),
        accuracy_disagree=_mean([score for agrees, score in votes if not agrees]),
        calibration={who: found for who, found in calibrations.items() if found is not None},
    )


def chosen_option(item: AnsweredItem, prediction: Prediction) -> int | None:
    """The index of the option that a vote's text picks, as shown; None if unreadable or the task has no options."""
    parsed, sample = item.parse(prediction, parse_completion), item.in_order(prediction.order)
    if parsed is None or parsed.answer is None:
        return None
    return get_task(sample.task).option_index(parsed.answer, sample)


def _agreements(items: Sequence[AnsweredItem], protocol: Protocol) -> Iterator[tuple[bool, float | None]]:
    """For every readable vote with a belief: whether the listener agrees, and the vote's score."""
    for item in items:
        for prediction in item.predictions:
            choice = chosen_option(item, prediction)
            if prediction.listener is not None and choice is not None:
                agrees = int(np.argmax(prediction.listener)) == choice
                yield agrees, task_vote_score(item, prediction, protocol)


def _calibration(
    items: Sequence[AnsweredItem], protocol: Protocol, name: Literal["listener", "confidence"]
) -> Calibration | None:
    """Of one field's probabilities, over the items whose right option is known."""
    probs, truth = [], []
    for item in items:
        rows = [(p.order, values) for p in item.predictions if (values := getattr(p, name)) is not None]
        own_order = [values if order == "given" else values[::-1] for order, values in rows]
        gold = get_task(item.sample.task).gold_probs(item.sample)
        counts = own_order and task_vote_score(item, item.predictions[0], protocol) is not None
        if counts and gold is not None:
            probs.append(np.mean(own_order, axis=0).tolist())
            truth.append(int(np.argmax(gold)))
    return calibration(probs, truth)


def _mean(values: Sequence[float | None]) -> float | None:
    mean = mean_of_known(values)
    return None if mean is None else round(mean, 4)
