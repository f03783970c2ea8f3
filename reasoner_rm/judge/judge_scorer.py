"""A judge as the reward of another policy: the scorer that `judged` asks."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

from reasoner_rm.judge.judge import Judge
from reasoner_rm.schema import Sample


class JudgeScorer:
    """Each answer's share of wins over the other answers of its group, by a judge of `response_preference`.

    Equal answers are judged once and share their value; one answer alone has nothing to win against: None. Hand it
    over as ``GRPOTrainer(…, scorers={"judge": JudgeScorer(judge)})``.

    Args:
        votes, both_orders: as in ``Judge.verdicts``.
    """

    def __init__(self, judge: Judge, votes: int = 1, both_orders: bool = True):
        self.judge = judge
        self.votes = votes
        self.both_orders = both_orders

    def __call__(self, sample: Sample, answers: Sequence[str], facts: Any = None) -> list[float | None]:
        """``facts`` stand below the question, for the judge alone."""
        distinct = list(dict.fromkeys(answers))
        pairs = list(itertools.combinations(distinct, 2))
        question = sample.prompt if facts is None else f"{sample.prompt}\nKnown to be true: {facts}"
        asked = [
            Sample(f"{sample.id}~{i}", "response_preference", question, sample.images, sample.videos, pair)
            for i, pair in enumerate(pairs)
        ]
        shares: dict[str, list[float]] = {answer: [] for answer in distinct}
        verdicts = self.judge.verdicts(asked, self.votes, self.both_orders) if asked else []
        for (first, second), verdict in zip(pairs, verdicts, strict=True):
            if verdict.p_first is not None:
                shares[first].append(verdict.p_first)
                shares[second].append(1 - verdict.p_first)
        return [math.fsum(shares[a]) / len(shares[a]) if shares[a] else None for a in answers]
