"""Data in this project's own form as a benchmark: a run's held-out splits, the pocket world, anybody's own samples."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path

from reasoner_rm.data.row import DatasetRow
from reasoner_rm.evaluation.answer_metrics import task_accuracy
from reasoner_rm.evaluation.benchmark import Benchmark
from reasoner_rm.evaluation.protocol import Protocol
from reasoner_rm.evaluation.subgroups import facets
from reasoner_rm.schema import PAIRWISE_TASKS, Sample
from reasoner_rm.serialization import sample_from_dict
from reasoner_rm.tasks import get_task


def with_ground_truth(sample: Sample) -> Sample:
    """The comparison with its votes replaced by ``meta.truth`` (1 or 2, in shown order), where that is stated.

    Tied votes stay a tie: a pair on which raters were divided says nothing about a judge. Other samples are returned
    unchanged.
    """
    truth = sample.meta.get("truth")
    if (
        sample.task not in PAIRWISE_TASKS
        or truth not in (1, 2)
        or get_task(sample.task).reference_answer(sample) is None
    ):
        return sample
    return dataclasses.replace(sample, gold={"p_first": 2.0 - truth})


def read(row: DatasetRow) -> Iterable[Sample]:
    """A line of a samples file, with the truth as its gold where that is stated."""
    sample = with_ground_truth(sample_from_dict(row.values, Path(row.media.root)))
    yield dataclasses.replace(sample, target=None, meta={**sample.meta, "by": facets(sample)})


BOTH_ORDERS = Protocol("both_orders", "each item in both orders; unreadable is wrong, tied votes are left out",
                       metric=task_accuracy, over="difficulty")  # fmt: skip

POCKET = Benchmark(
    "pocket", "the pocket world", read, columns=("id", "task", "prompt"), tables=("{split}.jsonl", "{split}-*.jsonl"),
    splits=("heldout", "ood"), protocols=(BOTH_ORDERS,),
)  # fmt: skip
SAMPLES = Benchmark(
    "samples", "own samples", read, columns=("id", "task", "prompt"), tables=("{split}.jsonl", "*.jsonl"),
    splits=("heldout", "test"), protocols=(BOTH_ORDERS,),
)  # fmt: skip
