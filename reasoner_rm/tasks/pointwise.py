"""A score of one image for a caption, as a number on a scale."""

from __future__ import annotations

import math
import re
from decimal import Decimal
from typing import ClassVar

from reasoner_rm.errors import InputError
from reasoner_rm.schema import Sample
from reasoner_rm.tasks.base import Task, require

SCALE = (1, 5)


class Pointwise(Task):
    """The answer is one number within ``meta.scale`` (1 to 5 unless stated); gold is ``score``.

    Correctness falls linearly with the distance from the gold score, from 1 to 0 over the whole scale.
    A listener has options only where the scale's whole numbers are single digits.
    """

    name: ClassVar[str] = "pointwise"

    def scale(self, sample: Sample) -> tuple[float, float]:
        low, high = sample.meta.get("scale", SCALE)
        return float(low), float(high)

    def validate(self, sample: Sample) -> None:
        if len(sample.images) + len(sample.videos) != 1:
            raise InputError(f"sample {sample.id!r} has {len(sample.images)} images, pointwise needs 1")
        score = require(sample.gold, "score", sample)
        match sample.meta.get("scale", SCALE):
            case [int() | float() as low, int() | float() as high] if -math.inf < low < high < math.inf:
                pass
            case scale:
                raise InputError(f"sample {sample.id!r}: meta.scale is {scale!r}", remedy="give [low, high]")
        if not isinstance(score, (int, float)) or not low <= score <= high:
            raise InputError(
                f"sample {sample.id!r}: gold.score {score!r} is outside its scale {low:g} to {high:g}",
                remedy="correct the score or set meta.scale as [low, high]",
            )

    def parse_answer(self, answer: str, sample: Sample) -> float | None:
        match = re.fullmatch(r"[+-]?\d++(\.\d++)?", answer.strip(), flags=re.ASCII)
        if not match:
            return None
        low, high = self.scale(sample)
        value = float(match[0])
        return value if low <= value <= high else None

    def options(self, sample: Sample) -> tuple[str, ...]:
        low, high = self.scale(sample)
        if not (low.is_integer() and high.is_integer() and 0 <= low < high <= 9):
            return ()
        return tuple(str(n) for n in range(int(low), int(high) + 1))

    def gold_probs(self, sample: Sample) -> tuple[float, ...] | None:
        options, score = self.options(sample), sample.gold.get("score")
        return None if score is None else tuple(max(0.0, 1 - abs(int(o) - score)) for o in options) or None

    def option_index(self, answer: str, sample: Sample) -> int | None:
        value = self.parse_answer(answer, sample)
        options = self.options(sample)
        return None if value is None or not options else options.index(str(round(value)))

    def grade(self, answer: str, sample: Sample) -> float | None:
        if "score" not in sample.gold:
            return None
        value = self.parse_answer(answer, sample)
        low, high = self.scale(sample)
        return 0.0 if value is None else 1 - abs(value - float(sample.gold["score"])) / (high - low)

    def reference_answer(self, sample: Sample) -> str | None:
        score = sample.gold.get("score")
        return None if score is None else f"{Decimal(str(score)).normalize():f}"  # all digits, no exponent
