"""The four pairwise preferences: which of two images, videos, answers or edits is better."""

from __future__ import annotations

import math
import re
from typing import Any, ClassVar

from reasoner_rm.errors import InputError
from reasoner_rm.schema import PAIRWISE_TASKS, Candidates, Sample
from reasoner_rm.tasks.base import Task, require

OPTIONS = ("1", "2")


class Preference(Task):
    """The answer is `Image 1 is better` or `Image 2 is better`, with the task's own noun; ties have no answer.

    Gold is ``p_first``, the probability 0..1 that the first candidate is better, or ``ranks`` (1 = best).
    """

    kind: ClassVar[Candidates]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.kind = PAIRWISE_TASKS[cls.name]
        cls.answer_prefix = f"<answer>{cls.kind.noun} "

    def validate(self, sample: Sample) -> None:
        count = len(getattr(sample, self.kind.media)) - self.kind.shared
        if count != 2:
            besides = f" besides its {self.kind.shared} source image" if self.kind.shared else ""
            raise InputError(
                f"sample {sample.id!r} has {max(count, 0)} candidates{besides}, a preference compares 2",
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
        """The gold probability that the first candidate is better, 0..1; 0.5 is a tie, None without gold."""
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


class ImagePreference(Preference):
    """Which of two images fits a caption better. ``prompt`` is the caption; ``images`` are the two candidates."""

    name: ClassVar[str] = "image_preference"


class VideoPreference(Preference):
    """Which of two videos fits a caption better. ``videos`` are the two candidates, each a sequence of frames."""

    name: ClassVar[str] = "video_preference"


class ResponsePreference(Preference):
    """Which of two answers to a question is better. ``prompt`` is the question; ``responses`` are the two candidates;
    images and videos belong to both."""

    name: ClassVar[str] = "response_preference"


class EditPreference(Preference):
    """Which of two edits of an image follows an instruction better. ``prompt`` is the instruction; ``images`` are the
    source image, then the two results. The results are `Image 1` and `Image 2`; the source has no number."""

    name: ClassVar[str] = "edit_preference"
