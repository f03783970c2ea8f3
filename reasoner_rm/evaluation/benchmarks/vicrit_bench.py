"""ViCrit-Bench (arXiv 2506.10128): find the one phrase of a caption that the image contradicts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from reasoner_rm.data.row import DatasetRow, SkipRow
from reasoner_rm.evaluation.answer_metrics import answer_accuracy
from reasoner_rm.evaluation.benchmark import Benchmark
from reasoner_rm.evaluation.protocol import Protocol
from reasoner_rm.evaluation.verdict_parsers import phrase, phrase_released
from reasoner_rm.rewards.vicrit import released_substring
from reasoner_rm.schema import Sample
from reasoner_rm.tasks import get_task
from reasoner_rm.tasks.caption_critic import phrase as plain


def read(row: DatasetRow) -> Iterable[Sample]:
    """`image` is bare bytes; the phrase before and after the change. A row in which nothing was changed is left out."""
    was, now = _phrase(row, "original_noun_phrases"), _phrase(row, "changed_noun_phrases")
    if plain(was) == plain(now):
        raise SkipRow("nothing was changed")
    kind = str(row.optional("type") or row.optional("category") or "")
    by = {name: value for name, value in (("type", kind), ("domain", str(row.optional("domain") or ""))) if value}
    gold = {"original": was, "changed": now, **({"type": kind} if kind else {})}
    yield Sample(
        row.name, "caption_critic", row.text("changed_caption"), images=(row.image("image"),), gold=gold,
        source=row.source, meta={"by": by},
    )  # fmt: skip


def _phrase(row: DatasetRow, column: str) -> str:
    value = row.value(column)
    return str(value[0]) if isinstance(value, (list, tuple)) and value else str(value)


def exact(answer: Any, sample: Sample) -> float | None:
    """The whole changed phrase and nothing else."""
    return get_task(sample.task).grade(str(answer), sample)


def released(answer: Any, sample: Sample) -> float:
    """The first changed word is anywhere in the answer, in lower case."""
    return float(released_substring(sample) in str(answer).lower())


VICRIT_BENCH = Benchmark(
    "vicrit_bench",
    "ViCrit-Bench",
    read,
    columns=("image", "changed_caption", "original_noun_phrases", "changed_noun_phrases"),
    hub="russwang/ViCrit-Bench",
    splits=("train",),
    rows={"train": (607,)},
    protocols=(
        Protocol("exact", "the phrase, word for word (the paper)", parser=phrase, metric=answer_accuracy(exact),
                 over="type",
                 template="vicrit_bench"),
        Protocol("released", "the first changed word anywhere in the first box, or else in what follows the last line "
                 "break (the script)", parser=phrase_released,
                 metric=answer_accuracy(released), over="type", template="vicrit_bench"),
    ),
)  # fmt: skip
