"""RLAIF-V and RLHF-V: a question about an image, a chosen and a rejected answer, the chosen one always first."""

from __future__ import annotations

from collections.abc import Iterable

from reasoner_rm.data.pairing import pair
from reasoner_rm.data.recipe import PARQUET, Recipe
from reasoner_rm.data.row import DatasetRow, as_dict, as_text
from reasoner_rm.errors import InputError
from reasoner_rm.schema import Sample


def rlaif_v(row: DatasetRow, options: object) -> Iterable[Sample]:
    """`question`, `chosen`, `rejected` and an image struct."""
    return [_answers(row, row.text("question"), row.text("chosen"), row.text("rejected"))]


def rlhf_v(row: DatasetRow, options: object) -> Iterable[Sample]:
    """The same three as a JSON text in the column `text`."""
    stated = as_dict(row.parsed("text"), "text")
    return [_answers(row, *(as_text(stated.get(key), f"text.{key}") for key in ("question", "chosen", "rejected")))]


def _answers(row: DatasetRow, question: str, chosen: str, rejected: str) -> Sample:
    if chosen == rejected:
        raise InputError("chosen and rejected are the same", remedy="remove the row")
    extra = {name: row.optional(name) for name in ("ds_name", "origin_dataset")}
    return pair(
        row, "response_preference", question, (chosen, rejected), 1.0, images=[row.image("image")], meta=extra
    )  # fmt: skip


RLAIF_V = Recipe(
    "rlaif_v", "RLAIF-V: 83k answer pairs labelled by models (arXiv 2405.17220)", rlaif_v,
    hub="openbmb/RLAIF-V-Dataset", licence="cc-by-nc-4.0", tables=(*PARQUET, "*.parquet"), splits=("train",),
)  # fmt: skip
RLHF_V = Recipe(
    "rlhf_v", "RLHF-V: 5.7k answers with hallucinations corrected by people (arXiv 2312.00849)", rlhf_v,
    hub="openbmb/RLHF-V-Dataset", licence="cc-by-nc-4.0", tables=(*PARQUET, "*.parquet"), splits=("train",),
)  # fmt: skip
