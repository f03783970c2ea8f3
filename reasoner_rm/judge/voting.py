"""Votes as scoring and analysis use them: the judge that collects them, their parsed answers, their probabilities."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Protocol

from reasoner_rm.sampling.votes import Vote
from reasoner_rm.schema import Belief, MediaRef, Sample, Verdict
from reasoner_rm.serving.shared_engine import SharedEngine
from reasoner_rm.tasks import get_task
from reasoner_rm.tasks.render import Template


class VotingJudge(Protocol):
    """The methods of :class:`reasoner_rm.judge.Judge` that scoring and analysis call."""

    engine: SharedEngine

    def supports(self, task: str) -> bool: ...

    def template(self, task: str) -> Template: ...

    def collect_votes(self, samples: Sequence[Sample], votes: int = 1) -> list[list[Vote]]: ...

    def verdicts(self, samples: Sequence[Sample], votes: int = 1) -> list[Verdict]: ...


def vote_beliefs(judge: VotingJudge, rows: Sequence[Sequence[Vote]]) -> list[list[Belief | None]]:
    """The option probabilities after each vote's reasoning, one forward pass per vote. All samples have one task."""
    votes = [vote for row in rows for vote in row]
    if not votes:
        return [[] for _ in rows]
    template, texts = judge.template(votes[0].sample.task), [[vote.completion.text] for vote in votes]
    beliefs = iter(judge.engine.beliefs(template, [vote.sample for vote in votes], texts))
    return [[next(beliefs)[0] for _ in row] for row in rows]


def parsed_answers(votes: Sequence[Vote]) -> list[Any]:
    """The parsed answers of the readable votes: a number for `pointwise`, a list of 0 and 1 for `step_critique`."""
    answers = [
        get_task(vote.sample.task).parse_answer(vote.parsed.answer, vote.sample)
        for vote in votes
        if vote.parsed.answer is not None
    ]
    return [answer for answer in answers if answer is not None]


def pointwise_samples(images: Sequence[MediaRef], prompts: Sequence[str]) -> list[Sample]:
    return [
        Sample("score", "pointwise", prompt, images=(image,)) for image, prompt in zip(images, prompts, strict=True)
    ]


def mean(values: Sequence[float]) -> float | None:
    """The mean; None for no values."""
    return math.fsum(values) / len(values) if values else None
