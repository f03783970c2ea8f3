"""Problems in EasyR1's form: images, a problem with their places, and an answer that is a formula."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from reasoner_rm.data.conversation_text import IMAGE, number_images
from reasoner_rm.data.recipe import PARQUET, Recipe, option
from reasoner_rm.data.row import DatasetRow, SkipRow
from reasoner_rm.errors import InputError
from reasoner_rm.schema import Sample
from reasoner_rm.tasks.qa import answer_kind


@dataclass(frozen=True, slots=True)
class Options:
    problem: str = option("problem", "column of the question")
    answer: str = option("answer", "column of the answer")
    text_only: bool = option(False, "keep rows without an image")


def easyr1(row: DatasetRow, options: Options) -> Iterable[Sample]:
    """`images`, `problem`, `answer`. Answers are compared as formulas; those that are none, as text."""
    problem, answer = row.text(options.problem), str(row.value(options.answer))
    images = row.images("images") if row.optional("images") else []
    if not images and not options.text_only:
        raise SkipRow("no image")
    if problem.count(IMAGE) not in (0, len(images)):
        what = f"{options.problem}: {problem.count(IMAGE)} places of images for {len(images)} images"
        raise InputError(what, remedy="correct or remove the row")
    gold = {"answer": answer, "kind": answer_kind(answer, formulas=True)}
    prompt = number_images([problem])[0]
    return [Sample(id=row.name, task="qa", prompt=prompt, images=tuple(images), gold=gold, source=row.source)]


EASYR1 = Recipe(
    "easyr1", "problems with verifiable answers in EasyR1's form, such as Geometry3K (arXiv 2105.04165)", easyr1,
    hub="hiyouga/geometry3k", licence="", tables=(*PARQUET, "*.parquet", "*.jsonl", "*.json"),
    splits=("train", "validation", "test"), options=Options,
)  # fmt: skip
