"""ViLBench (arXiv 2503.20271): the best of N solutions, picked by ratings of their steps or of their outcome.

The released files' columns could not be seen; a row is read as `question`, `image`, and `candidates`, each with its
`steps` and whether it is `correct`.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable

from reasoner_rm.data.row import DatasetRow, as_dict, as_list
from reasoner_rm.evaluation.answer_metrics import best_of_n, mean_of
from reasoner_rm.evaluation.benchmark import Benchmark
from reasoner_rm.evaluation.protocol import Protocol
from reasoner_rm.evaluation.verdict_parsers import step_ratings
from reasoner_rm.schema import Sample


def read(row: DatasetRow) -> Iterable[Sample]:
    """Every candidate is an item; those of a question share a group."""
    question, images = row.text("question"), tuple(row.images("image", least=1))
    by = {"group": str(row.optional("source") or "all")}
    for i, candidate in enumerate(row.items("candidates", least=1)):
        given = as_dict(candidate, "candidates")
        steps = tuple(str(step) for step in as_list(given.get("steps"), "steps", least=1))
        right = bool(given.get("correct"))
        yield Sample(
            f"{row.name}-{i}", "qa", question, images=images, responses=steps, group_id=row.name, source=row.source,
            gold={"answer": str(right), "kind": "text", "correct": right}, meta={"by": by},
        )  # fmt: skip


def last_of(values: list[float]) -> float:
    return values[-1]


_rated = functools.partial(Protocol, template="vilbench", parser=step_ratings)

VILBENCH = Benchmark(
    "vilbench",
    "ViLBench, best of N",
    read,
    columns=("question", "image", "candidates"),
    hub="UCSC-VLAA/ViLBench",
    protocols=(
        _rated("steps_mean", "the mean of the steps' ratings picks", metric=best_of_n(mean_of)),
        _rated("steps_min", "the worst step picks", metric=best_of_n(min)),
        _rated("steps_last", "the last step picks", metric=best_of_n(last_of)),
        Protocol(
            "outcome", "one rating of the whole answer picks", metric=best_of_n(last_of), template="vilbench_outcome",
            parser=step_ratings,
        ),
    ),
)  # fmt: skip
