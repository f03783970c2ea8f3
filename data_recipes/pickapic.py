"""Pick-a-Pic v2: what users of a web page picked. Rows of frequent prompts have less weight."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from reasoner_rm.data.pairing import pair
from reasoner_rm.data.recipe import PARQUET, Recipe, option
from reasoner_rm.data.row import DatasetRow, SkipRow
from reasoner_rm.schema import Sample


@dataclass(frozen=True, slots=True)
class Options:
    balanced: bool = option(True, "weigh a row by 1 / the number of rows of its prompt, as PickScore is trained")


def pickapic(row: DatasetRow, options: Options) -> Iterable[Sample]:
    """`jpg_0` and `jpg_1` are raw bytes; `label_0` is 1, 0, or 0.5 for a tie; rows without a label are left out."""
    if row.optional("has_label") is False:
        raise SkipRow("has_label is false")
    p = row.one_of("label_0", {1.0: 1.0, 0.0: 0.0, 0.5: 0.5})
    weight = 1 / row.number_of("num_example_per_prompt", 1) if options.balanced else 1.0
    images = [row.image("jpg_0"), row.image("jpg_1")]
    extra = {name: row.optional(name) for name in ("model_0", "model_1", "ranking_id", "user_id")}
    return [pair(row, "image_preference", row.text("caption"), images, p, weight=weight, meta=extra)]


PICKAPIC = Recipe(
    "pickapic", "Pick-a-Pic v2: 959k choices of web users (arXiv 2305.01569)", pickapic,
    hub="yuvalkirstain/pickapic_v2", licence="", tables=PARQUET,
    splits=("train", "validation", "test", "validation_unique", "test_unique"), options=Options,
)  # fmt: skip
