"""What a task is: a prompt, a way to read answers, and what counts as right."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from reasoner_rm.errors import InputError
from reasoner_rm.schema import ParsedCompletion, Sample
from reasoner_rm.tasks.parsing import AnswerFormat, parse


class Task(ABC):
    """A kind of question. One file, one subclass, one line in the registry; the prompt's text is a template file."""

    name: ClassVar[str]
    container: ClassVar[AnswerFormat] = "answer"
    answer_prefix: ClassVar[str] = "<answer>"
    """What a listener's input ends with, after the reasoning; the option's token comes next."""

    def parse(self, text: str, sample: Sample) -> ParsedCompletion:
        """Read a completion's thinking and last answer. Never raises on any text."""
        return parse(text, self.container, lambda answer: self.parse_answer(answer, sample) is not None)

    @abstractmethod
    def validate(self, sample: Sample) -> None:
        """Raise InputError when the sample lacks what this task needs."""

    @abstractmethod
    def parse_answer(self, answer: str, sample: Sample) -> Any | None:
        """The value that an answer's text states, or None when it states none."""

    @abstractmethod
    def grade(self, answer: str, sample: Sample) -> float | None:
        """How right a readable answer is, 0..1; None when the gold cannot say (a tie)."""

    @abstractmethod
    def reference_answer(self, sample: Sample) -> str | None:
        """The right answer in the task's own words; None when the gold cannot say."""

    def options(self, sample: Sample) -> tuple[str, ...]:
        """What a listener chooses among, right after ``answer_prefix``. Empty: it cannot be asked."""
        return ()

    def gold_probs(self, sample: Sample) -> tuple[float, ...] | None:
        """How much of the truth each option holds, summing to 1; None when unknown."""
        return None

    def option_index(self, answer: str, sample: Sample) -> int | None:
        """Which option an answer picks."""
        return None


def require(gold: Mapping[str, Any], key: str, sample: Sample) -> Any:
    """``gold[key]``, or an InputError that names the sample."""
    if key not in gold:
        raise InputError(f"sample {sample.id!r} ({sample.task}) has no gold.{key}", remedy=f'add "{key}" to its gold')
    return gold[key]
