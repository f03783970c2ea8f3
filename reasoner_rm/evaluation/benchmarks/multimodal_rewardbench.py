"""Multimodal RewardBench (arXiv 2502.14191): which of two answers to a question about an image is better."""

from __future__ import annotations

from collections.abc import Iterable

from reasoner_rm.data.row import DatasetRow
from reasoner_rm.evaluation.benchmark import Benchmark, compared, tables
from reasoner_rm.evaluation.protocol import Protocol
from reasoner_rm.evaluation.verdict_parsers import bracketed
from reasoner_rm.schema import Sample

PARTS = {"safety": ("pairs", "bias", "toxicity"), "reasoning": ("math", "math", "coding")}


def part(category: str, name: str) -> str:
    """Safety and reasoning fall in two by what an ID begins with."""
    if category not in PARTS:
        return category
    start, one, other = PARTS[category]
    return f"{category}/{one if name.lower().startswith(start) else other}"


def read(row: DatasetRow) -> Iterable[Sample]:
    """`Better` names `Output1` or `Output2`."""
    name, category = row.text("ID"), row.text("Category")
    better = row.one_of("Better", {"Output1": 1.0, "Output2": 0.0})
    yield compared(
        row, name, "response_preference", row.text("Text"), [row.text("Output1"), row.text("Output2")], better,
        by={"group": category, "part": part(category, name)}, images=[row.image("Image")],
    )  # fmt: skip


MULTIMODAL_REWARDBENCH = Benchmark(
    "multimodal_rewardbench",
    "Multimodal RewardBench",
    read,
    columns=("ID", "Text", "Image", "Output1", "Output2", "Better", "Category"),
    hub="facebookresearch/multimodal_rewardbench",
    licence="cc-by-nc-4.0",
    tables=(*tables("all_data_release.json"), *tables("all_data.json")),
    protocols=(
        Protocol(
            "official", "the file's order, [[A]] or else [[B]], unreadable is a coin, micro over all rows",
            order="given", template="brackets", parser=bracketed, unparsed="coin",
        ),
        Protocol("both_orders", "each item in both orders; unreadable is wrong", template="brackets", parser=bracketed),
    ),
)  # fmt: skip
