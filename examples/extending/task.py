"""A task: which of several images is the odd one out."""

from reasoner_rm.errors import InputError
from reasoner_rm.schema import Sample
from reasoner_rm.tasks.base import Task, require


class OddOneOut(Task):
    """``images`` are shown in order; gold ``odd`` is the number of the one that does not belong, from 1."""

    name = "odd_one_out"
    answer_prefix = "<answer>"

    def validate(self, sample: Sample) -> None:
        odd = require(sample.gold, "odd", sample)
        if odd not in range(1, len(sample.images) + 1):
            raise InputError(f"sample {sample.id!r}: gold.odd is {odd!r}", remedy="give the number of an image")

    def parse_answer(self, answer: str, sample: Sample) -> int | None:
        number = answer.strip()
        return int(number) if number in self.options(sample) else None

    def grade(self, answer: str, sample: Sample) -> float | None:
        return float(self.parse_answer(answer, sample) == sample.gold["odd"])

    def reference_answer(self, sample: Sample) -> str | None:
        return str(sample.gold["odd"])

    def options(self, sample: Sample) -> tuple[str, ...]:
        return tuple(str(i) for i in range(1, len(sample.images) + 1))

    def gold_probs(self, sample: Sample) -> tuple[float, ...] | None:
        return tuple(float(option == str(sample.gold["odd"])) for option in self.options(sample))

    def option_index(self, answer: str, sample: Sample) -> int | None:
        value = self.parse_answer(answer, sample)
        return None if value is None else value - 1
