"""One ballot after it was marked: how right it is, and how sure the judge and its listener are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reasoner_rm.evaluation.ground_truth import with_ground_truth
from reasoner_rm.models.box_converter import BoxConverter
from reasoner_rm.sampling.votes import Vote
from reasoner_rm.schema import Belief
from reasoner_rm.tasks import get_task
from reasoner_rm.tasks.box_task import Localisation
from reasoner_rm.tasks.boxes import Boxes


@dataclass(frozen=True, slots=True)
class ScoredVote:
    """A ballot with how right it is, 0..1 (None: the gold is a tie).

    ``belief`` is the listener's, ``confidence`` the judge's own: what either gives each option after the reasoning.
    ``boxes`` are those that were found, in original pixels; None where a task asks for none or none can be read.
    """

    ballot: Vote
    correct: float | None
    belief: Belief | None = None
    confidence: Belief | None = None
    boxes: Boxes | None = None

    @property
    def agrees(self) -> bool | None:
        """Whether the listener would have given the ballot's answer."""
        if self.belief is None or self.ballot.choice is None:
            return None
        return int(np.argmax(self.belief.probs)) == self.ballot.choice


def judged(
    ballot: Vote, belief: Belief | None = None, confidence: Belief | None = None, canvas: BoxConverter | None = None
) -> ScoredVote:
    """A marked ballot. An unreadable one is wrong; without a ``canvas`` boxes are taken as they stand."""
    sample, answer = with_ground_truth(ballot.sample), ballot.parsed.answer
    task = get_task(sample.task)
    boxes = None
    if task.reference_answer(sample) is None:
        correct = None
    elif answer is None:
        correct = 0.0
    elif isinstance(task, Localisation) and (found := task.parse_answer(answer, sample)) is not None:
        boxes, gold = canvas.original(found, sample) if canvas else found, task.gold(sample)
        correct = None if gold is None else task.score(boxes, gold)
    else:
        correct = task.grade(answer, sample)
    return ScoredVote(ballot, correct, belief, confidence, boxes)


def same_candidate(row: Sequence[ScoredVote]) -> bool | None:
    """Whether the votes of both orders are for the same candidates, every one readable; None if asked in one order."""
    said = {order: [j.ballot.candidate for j in row if j.ballot.order == order] for order in ("given", "swapped")}
    if not all(said.values()):
        return None
    return None not in said["given"] and said["given"] == said["swapped"]
