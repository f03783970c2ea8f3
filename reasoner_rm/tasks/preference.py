"""What the four preferences have in common: two candidates, one of which is better."""

from __future__ import annotations

import math
import re
from typing import Any, ClassVar

from reasoner_rm.errors import InputError
from reasoner_rm.schema import PAIRWISE_TASKS, Candidates, Sample
from reasoner_rm.tasks.base import Task, require

OPTIONS = ("1", "2")


class Preference(Task):
    """Verdict `Image 1 is better` or `Image 2 is better`, by the task's own noun; there is no answer for a tie.

    Gold is ``p_first``, the probability 0..1 that the first candidate is better, or ``ranks`` (1 = best).
    """

    kind: ClassVar[Candidates]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.kind = PAIRWISE_TASKS[cls.name]
        cls.answer_prefix = f"<answer>{cls.kind.noun} "

    def validate(self, sample: Sample) -> None:
        shown = len(getattr(sample, self.kind.media)) - self.kind.shared
        if shown != 2:
            beside = f" beside its {self.kind.shared} source image" if self.kind.shared else ""
            raise InputError(
                f"sample {sample.id!r} has {max(shown, 0)} candidates{beside}, a preference compares 2",
                remedy="expand rankings to pairs that share a group_id",
            )
        if "ranks" not in sample.gold:
            p = require(sample.gold, "p_first", sample)
            if not isinstance(p, (int, float)) or not 0 <= p <= 1:
                raise InputError(f"sample {sample.id!r}: gold.p_first is {p!r}", remedy="give a number from 0 to 1")
        else:
            match sample.gold["ranks"]:
                case [int() | float() as first, int() | float() as second] if not math.isnan(first + second):
                    return
                case ranks:
                    what = f"sample {sample.id!r}: gold.ranks is {ranks!r}"
                    raise InputError(what, remedy="give 2 numbers, 1 = best")

    def p_first(self, sample: Sample) -> float | None:
        if "p_first" in sample.gold:
            return float(sample.gold["p_first"])
        if "ranks" in sample.gold:
            first, second = sample.gold["ranks"]
            return 0.5 if first == second else float(first < second)
        return None

    def parse_answer(self, answer: str, sample: Sample) -> int | None:
        verdict = rf"{self.kind.noun} ([12]) is better\.?"
        match = re.fullmatch(verdict, answer.strip(), flags=re.IGNORECASE | re.ASCII)
        return int(match[1]) - 1 if match else None

    def option_index(self, answer: str, sample: Sample) -> int | None:
        return self.parse_answer(answer, sample)

    def options(self, sample: Sample) -> tuple[str, ...]:
        return OPTIONS

    def gold_probs(self, sample: Sample) -> tuple[float, ...] | None:
        p = self.p_first(sample)
        return None if p is None else (p, 1 - p)

    def grade(self, answer: str, sample: Sample) -> float | None:
        p = self.p_first(sample)
        if p is None or p == 0.5:
            return None
        return float(self.parse_answer(answer, sample) == (0 if p > 0.5 else 1))

    def reference_answer(self, sample: Sample) -> str | None:
        p = self.p_first(sample)
        return None if p is None or p == 0.5 else f"{self.kind.noun} {1 if p > 0.5 else 2} is better"
