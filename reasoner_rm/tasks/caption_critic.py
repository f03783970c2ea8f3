"""ViCrit's task: find the phrase of a caption that was changed so that it contradicts the image."""

from __future__ import annotations

import re
from typing import ClassVar

from reasoner_rm.errors import InputError
from reasoner_rm.schema import Sample
from reasoner_rm.tasks.base import Task, require
from reasoner_rm.tasks.escape import escape
from reasoner_rm.tasks.parsing import AnswerFormat
from reasoner_rm.tasks.qa import normalise

MAX_PHRASE = 1000
"""Longer answers are unreadable, in characters."""

_LATEX = re.compile(r"\\(?:text|textbf|textit|mathrm)\{([^{}]*)\}")
_BACKSLASH = re.compile(r"\\([\s!-/:-@\[-`{-~])")
_PLAIN = str.maketrans("‘’‚‛“”„‟«»", '\'\'\'\'""""""')


class CaptionCritic(Task):
    """ViCrit (arXiv 2506.10128): ``prompt`` is the corrupted caption; the answer is the phrase, verbatim, in a box.

    Gold is ``changed``, the phrase in the caption; ``original``, the phrase it replaced; and optionally ``type``, the
    kind of error. An answer is correct if it equals the phrase up to case, white space, quotation marks, outer
    punctuation and LaTeX escapes.
    """

    name: ClassVar[str] = "caption_critic"
    container: ClassVar[AnswerFormat] = "boxed"

    def validate(self, sample: Sample) -> None:
        for key in ("original", "changed"):
            value = require(sample.gold, key, sample)
            if not isinstance(value, str) or phrase(value) is None:
                what = f"sample {sample.id!r}: gold.{key} is {value!r:.60}"
                raise InputError(what, remedy=f"give a phrase of at most {MAX_PHRASE} characters")
        if not isinstance(sample.gold.get("type", ""), str):
            what = f"sample {sample.id!r}: gold.type is {sample.gold['type']!r:.60}"
            raise InputError(what, remedy="give a word such as color or count, or leave it out")
        original, changed = sample.gold["original"], sample.gold["changed"]
        if phrase(original) == phrase(changed):
            what = f"sample {sample.id!r}: gold.changed {changed!r:.60} equals gold.original"
            raise InputError(what, remedy="drop the row, nothing was changed")
        if changed.casefold() not in sample.prompt.casefold():
            what = f"sample {sample.id!r}: gold.changed {changed!r:.60} is not in the caption"
            raise InputError(what, remedy="prompt is the changed caption, not the original one")
        boxed = self.parse(f"\\boxed{{{escape(changed)}}}", sample).answer
        if boxed is None or not self.grade(boxed, sample):
            what = f"sample {sample.id!r}: gold.changed {changed!r:.60} cannot be put into \\boxed{{}}"
            raise InputError(what, remedy="balance its braces")

    def parse_answer(self, answer: str, sample: Sample) -> str | None:
        return phrase(answer)

    def grade(self, answer: str, sample: Sample) -> float | None:
        gold = self.reference_answer(sample)
        if gold is None:
            return None
        predicted = phrase(answer)
        return float(predicted is not None and predicted == phrase(gold))

    def reference_answer(self, sample: Sample) -> str | None:
        return escape(sample.gold["changed"]) if "changed" in sample.gold else None


def phrase(text: str) -> str | None:
    """A phrase normalised for comparison; None when nothing is left, or it is too long.

    >>> phrase("“A red  Car,”"), phrase(r"\\text{50\\% off}")
    ('a red car', '50% off')
    """
    if len(text) > MAX_PHRASE:
        return None
    text = _BACKSLASH.sub(r"\1", _LATEX.sub(r"\1", text)).translate(_PLAIN)
    return normalise(text).strip(" .,;:!?\"'()[]") or None
