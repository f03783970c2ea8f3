"""Which steps of a solution are correct."""

from __future__ import annotations

import json
from typing import ClassVar

from reasoner_rm.errors import InputError
from reasoner_rm.schema import Sample
from reasoner_rm.tasks.base import Task, require

MAX_STEPS = 256
MAX_TEXT = 4000
"""Longer answers are unreadable, in characters."""


class StepCritique(Task):
    """``prompt`` is the question; ``responses`` are the steps of one solution, in order.

    The answer is a JSON list with 1 (right) or 0 (wrong) for each step; so is gold ``steps``. Correctness is the
    share of steps judged right; 0 when the list is not as long as the solution.
    """

    name: ClassVar[str] = "step_critique"

    def validate(self, sample: Sample) -> None:
        steps = verdicts(require(sample.gold, "steps", sample))
        if not 1 <= len(sample.responses) <= MAX_STEPS:
            what = f"sample {sample.id!r} has {len(sample.responses)} solution steps"
            raise InputError(what, remedy=f"list 1 to {MAX_STEPS} of them in responses")
        if steps is None or len(steps) != len(sample.responses):
            what = f"sample {sample.id!r}: gold.steps is {sample.gold['steps']!r:.60}"
            raise InputError(what, remedy=f"give a list of {len(sample.responses)} times 0 or 1, one for each response")

    def parse_answer(self, answer: str, sample: Sample) -> list[int] | None:
        if len(answer) > MAX_TEXT:
            return None
        try:
            return verdicts(json.loads(answer))
        except (ValueError, RecursionError):
            return None

    def grade(self, answer: str, sample: Sample) -> float | None:
        if "steps" not in sample.gold:
            return None
        predicted, gold = self.parse_answer(answer, sample), list[int](sample.gold["steps"])
        if predicted is None or len(predicted) != len(gold):
            return 0.0
        return sum(p == g for p, g in zip(predicted, gold, strict=True)) / len(gold)

    def reference_answer(self, sample: Sample) -> str | None:
        return json.dumps(list(sample.gold["steps"])) if "steps" in sample.gold else None


def verdicts(value: object) -> list[int] | None:
    """The value as a list of 0 and 1; None for anything else. True is not 1."""
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_STEPS:
        return None
    return value if all(type(v) is int and v in (0, 1) for v in value) else None
