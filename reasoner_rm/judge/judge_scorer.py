"""A judge as the reward of another policy: the scorer that the reward `judged` calls."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

from reasoner_rm.judge.judge import Judge
from reasoner_rm.schema import Sample


class JudgeScorer:
    """Each answer's win rate against the other answers of its group, by a judge of `response_preference`.

    Equal answers are judged once and get the same value. A single distinct answer gets None. Used as
    ``GRPOTrainer(…, scorers={"judge": JudgeScorer(judge)})``.

    Args:
        votes, both_orders: as in ``Judge.verdicts``.
    """

    def __init__(self, judge: Judge, votes: int = 1, both_orders: bool = True):
        self.judge = judge
        self.votes = votes
        self.both_orders = both_orders

    def __call__(self, sample: Sample, answers: Sequence[str], facts: Any = None) -> list[float | None]:
        """A win rate 0..1, or None, per answer. ``facts`` are appended to the question; only the judge sees them."""
        distinct = list(dict.fromkeys(answers))
        pairs = list(itertools.combinations(distinct, 2))
        question = sample.prompt if facts is None else f"{sample.prompt}\nKnown to be true: {facts}"
        samples = [
            Sample(f"{sample.id}~{i}", "response_preference", question, sample.images, sample.videos, pair)
            for i, pair in enumerate(pairs)
        ]
        wins: dict[str, list[float]] = {answer: [] for answer in distinct}
        verdicts = self.judge.verdicts(samples, self.votes, self.both_orders) if samples else []
        for (first, second), verdict in zip(pairs, verdicts, strict=True):
            if verdict.p_first is not None:
                wins[first].append(verdict.p_first)
                wins[second].append(1 - verdict.p_first)
        return [math.fsum(wins[a]) / len(wins[a]) if wins[a] else None for a in answers]
