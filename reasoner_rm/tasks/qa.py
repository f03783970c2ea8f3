"""A question with a verifiable answer: a choice, a number, a short text, or a formula."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import ClassVar

from reasoner_rm.errors import InputError
from reasoner_rm.schema import Sample
from reasoner_rm.tasks.base import Task, require
from reasoner_rm.tasks.escape import escape, unescape
from reasoner_rm.tasks.math_answers import formula, same_formulas
from reasoner_rm.tasks.parsing import is_visible

KINDS = ("choice", "number", "text", "math")
_LATEX = re.compile(r"\\[A-Za-z]+|\$(?![\d.,]+\s)[^$]+\$")
_PLAIN_FORMULA = re.compile(r"(?!.*[A-Za-z]{2})(?=.*(?:\d\s*/\s*\d|\^|[√π])).+")
"""A fraction or a power without words beside it."""
MAX_ANSWER = 4000
"""Longer answers are unreadable: Unicode normalisation is quadratic in a run of combining marks."""


class Qa(Task):
    """Gold is ``answer`` and ``kind``; for a choice, ``meta.choices`` lists the options.

    A formula (``math``) may be in `\\boxed{}` or dollar signs; mathematically equal formulas are correct.
    """

    name: ClassVar[str] = "qa"

    def validate(self, sample: Sample) -> None:
        answer = str(require(sample.gold, "answer", sample))
        kind = require(sample.gold, "kind", sample)
        if kind not in KINDS:
            raise InputError(f"sample {sample.id!r}: gold.kind {kind!r} is unknown", remedy=f"use {', '.join(KINDS)}")
        choices = sample.meta.get("choices", ())
        if not isinstance(choices, (list, tuple)) or len({normalise(str(c)) for c in choices} - {""}) < len(choices):
            what = f"sample {sample.id!r}: meta.choices is {choices!r}"
            raise InputError(what, remedy="list texts that differ in more than case and punctuation")
        if self.parse_answer(answer, sample) is None:
            what = f"sample {sample.id!r}: gold.answer {answer!r:.60} cannot be parsed as a {kind}"
            raise InputError(what, remedy="list it in meta.choices" if kind == "choice" else "correct it, or its kind")

    def parse_answer(self, answer: str, sample: Sample) -> str | float | None:
        kind = sample.gold.get("kind", "text")
        if kind == "number":
            return number(answer)
        if len(answer) > MAX_ANSWER:
            return None
        if kind == "math":
            return formula(unescape(answer))
        text = normalise(answer)
        if kind == "choice":
            return next((c for c in self.options(sample) if normalise(c) == text), None)
        return text if text and is_visible(answer) else None

    def options(self, sample: Sample) -> tuple[str, ...]:
        return tuple(str(c) for c in sample.meta.get("choices", ()))

    def gold_probs(self, sample: Sample) -> tuple[float, ...] | None:
        right = self.option_index(str(sample.gold.get("answer", "")), sample)
        return None if right is None else tuple(float(i == right) for i in range(len(self.options(sample))))

    def option_index(self, answer: str, sample: Sample) -> int | None:
        text = normalise(answer) if len(answer) <= MAX_ANSWER else ""
        return next((i for i, o in enumerate(self.options(sample)) if normalise(o) == text), None)

    def grade(self, answer: str, sample: Sample) -> float | None:
        return self.grade_all([(answer, sample)])[0]

    def grade_all(self, answers: Sequence[tuple[str, Sample]]) -> list[float | None]:
        """Formulas are compared in one batch (`same_formulas`)."""
        grades: list[float | None] = []
        formulas: dict[int, tuple[str, str]] = {}
        for place, (answer, sample) in enumerate(answers):
            gold = self.parse_answer(str(sample.gold["answer"]), sample) if "answer" in sample.gold else None
            found = self.parse_answer(answer, sample)
            grades.append(float(found is not None and found == gold) if "answer" in sample.gold else None)
            if sample.gold.get("kind") == "math" and isinstance(found, str) and isinstance(gold, str):
                formulas[place] = found, gold
        for place, equal in zip(formulas, same_formulas(list(formulas.values())), strict=True):
            grades[place] = float(equal)
        return grades

    def reference_answer(self, sample: Sample) -> str | None:
        return escape(str(sample.gold["answer"])) if "answer" in sample.gold else None


def answer_kind(answer: str, *, formulas: bool = False) -> str:
    """The kind of a data set's gold answer that states none: `math` for a formula in LaTeX, a fraction or a power.

    Args:
        formulas: all answers of the set are formulas where they can be: also plain numbers and letters.

    >>> answer_kind("\\\\frac{1}{2}"), answer_kind("a 3/4 view"), answer_kind("12"), answer_kind("12", formulas=True)
    ('math', 'text', 'text', 'math')
    """
    likely = formulas or _LATEX.search(answer) or _PLAIN_FORMULA.fullmatch(answer.strip())
    return "math" if likely and formula(answer) is not None else "text"


def number(text: str) -> float | None:
    """A plain decimal number, thousands separators allowed; None for anything else.

    >>> number("1,200.5"), number("seven")
    (1200.5, None)
    """
    text = text.strip().rstrip(".")
    if not re.fullmatch(r"[+-]?(\d{1,3}(,\d{3}){1,99}|\d{1,300})(\.\d{1,300})?", text, flags=re.ASCII):
        return None
    return float(text.replace(",", ""))


def normalise(text: str) -> str:
    """The text for comparison: NFKC, case-folded, unescaped, without outer punctuation and repeated white space."""
    text = unicodedata.normalize("NFKC", unescape(text)).casefold()
    return " ".join(text.split()).strip(" .!?\"'")
