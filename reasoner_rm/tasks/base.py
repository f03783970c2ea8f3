"""The interface of a task: validation of samples, parsing and grading of answers, options for a listener."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from reasoner_rm.errors import InputError
from reasoner_rm.schema import ParsedCompletion, Sample
from reasoner_rm.tasks.parsing import AnswerFormat, parse


class Task(ABC):
    """A kind of question. The prompt's text is a template file; see CONTRIBUTING for a new task."""

    name: ClassVar[str]
    container: ClassVar[AnswerFormat] = "answer"
    answer_prefix: ClassVar[str] = "<answer>"
    """The end of a listener's input, after the reasoning; the option's token comes next."""

    def parse(self, text: str, sample: Sample) -> ParsedCompletion:
        """Parse a completion's thinking and last answer. Never raises on any text."""
        return parse(text, self.container, lambda answer: self.parse_answer(answer, sample) is not None)

    @abstractmethod
    def validate(self, sample: Sample) -> None:
        """Check the sample's fields and gold.

        Raises:
            InputError: a field that this task needs is missing or invalid.
        """

    @abstractmethod
    def parse_answer(self, answer: str, sample: Sample) -> Any | None:
        """The parsed value of an answer; None when it is unreadable."""

    @abstractmethod
    def grade(self, answer: str, sample: Sample) -> float | None:
        """The correctness of an answer, 0..1; None when the gold does not decide it (a tie)."""

    def grade_all(self, answers: Sequence[tuple[str, Sample]]) -> list[float | None]:
        """The correctness of several answers, each to its sample, for tasks whose grading is slow."""
        return [self.grade(answer, sample) for answer, sample in answers]

    def grades(self, parsed: Sequence[ParsedCompletion], sample: Sample) -> list[float | None]:
        """The correctness of each readable answer to one sample; None for the others."""
        found = iter(self.grade_all([(p.answer, sample) for p in parsed if p.answer is not None]))
        return [None if p.answer is None else next(found) for p in parsed]

    @abstractmethod
    def reference_answer(self, sample: Sample) -> str | None:
        """The correct answer in the task's answer format; None when the gold does not decide it."""

    def options(self, sample: Sample) -> tuple[str, ...]:
        """The options whose probabilities a listener gives after ``answer_prefix``. Empty: none, so no belief."""
        return ()

    def gold_probs(self, sample: Sample) -> tuple[float, ...] | None:
        """The gold probability of each option, summing to 1; None when unknown."""
        return None

    def option_index(self, answer: str, sample: Sample) -> int | None:
        """The index of the option that an answer picks; None for none."""
        return None


def require(gold: Mapping[str, Any], key: str, sample: Sample) -> Any:
    """``gold[key]``.

    Raises:
        InputError: there is none; it names the sample.
    """
    if key not in gold:
        raise InputError(f"sample {sample.id!r} ({sample.task}) has no gold.{key}", remedy=f'add "{key}" to its gold')
    return gold[key]
