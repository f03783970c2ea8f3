"""MM-RLHF-RewardBench (arXiv 2502.10391): chosen or rejected, as accuracy of rows and of whole questions."""

from __future__ import annotations

import functools
from collections.abc import Iterable

from reasoner_rm.data.row import DatasetRow
from reasoner_rm.errors import InputError
from reasoner_rm.evaluation.benchmark import Benchmark, compared, tables
from reasoner_rm.evaluation.protocol import Protocol
from reasoner_rm.evaluation.verdict_parsers import first_number
from reasoner_rm.schema import Sample

CATEGORIES = ("mcq", "long", "short", "safety", "video")


def read(row: DatasetRow) -> Iterable[Sample]:
    """`image`, or `video`, a folder of frames; the chosen answer is the first candidate."""
    column = "video" if row.optional("video") else "image"
    path = str(row.value(column))
    category = next((c for c in CATEGORIES if c in path), None)
    if category is None:
        raise InputError(f"{column} {path:.60} names none of {', '.join(CATEGORIES)}")
    media = {"videos": [row.video(column)]} if column == "video" else {"images": row.images(column, least=1)}
    name = str(row.value("id"))
    yield compared(
        row, f"{name}-{row.number}", "response_preference", row.text("prompt"),
        [row.text("chosen"), row.text("rejected")], 1.0, by={"group": category}, group=name, **media,
    )  # fmt: skip


_asked = functools.partial(Protocol, template="response_number", parser=first_number)

MM_RLHF_REWARDBENCH = Benchmark(
    "mm_rlhf_rewardbench",
    "MM-RLHF-RewardBench",
    read,
    columns=("id", "prompt", "chosen", "rejected"),
    hub="yifanzhang114/MM-RLHF-RewardBench",
    tables=(*tables("mm_reward_bench.jsonl"), *tables("*.jsonl")),
    rows={"test": (170,)},
    protocols=(
        _asked("acc", "rows where the chosen answer wins, in both orders together; equal is wrong", combine="majority"),
        _asked(
            "acc_plus", "questions all of whose rows are right", combine="majority", average="all", over="group_id",
        ),
        _asked("chosen_first", "one order, the chosen answer first, as most scripts have it", order="best_first"),
    ),
)  # fmt: skip
