"""Data in this project's own form as a benchmark: the pocket world's held-out splits, and anybody's own samples."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path

from reasoner_rm.data.row import DatasetRow
from reasoner_rm.evaluation.answer_metrics import by_task_rules
from reasoner_rm.evaluation.benchmark import Benchmark
from reasoner_rm.evaluation.ground_truth import with_ground_truth
from reasoner_rm.evaluation.protocol import Protocol
from reasoner_rm.evaluation.subgroups import facets
from reasoner_rm.schema import Sample
from reasoner_rm.serialization import sample_from_dict


def read(row: DatasetRow) -> Iterable[Sample]:
    """A line of a samples file; its truth, where that is stated, takes the place of its votes."""
    sample = with_ground_truth(sample_from_dict(row.values, Path(row.media.root)))
    yield dataclasses.replace(sample, target=None, meta={**sample.meta, "by": facets(sample)})


_BOTH = Protocol("both_orders", "each item in both orders; unreadable is wrong, tied votes are left out",
                 measure=by_task_rules, over="difficulty")  # fmt: skip

POCKET = Benchmark(
    "pocket", "the pocket world", read, columns=("id", "task", "prompt"), tables=("{split}.jsonl", "{split}-*.jsonl"),
    splits=("heldout", "ood"), protocols=(_BOTH,),
)  # fmt: skip
SAMPLES = Benchmark(
    "samples", "own samples", read, columns=("id", "task", "prompt"), tables=("{split}.jsonl", "*.jsonl"),
    splits=("heldout", "test"), protocols=(_BOTH,),
)  # fmt: skip
