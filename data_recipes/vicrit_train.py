"""ViCrit's own sets: captions in which one phrase was changed. Train and benchmark name their columns differently."""

from __future__ import annotations

from collections.abc import Iterable

from reasoner_rm.data.recipe import PARQUET, Recipe
from reasoner_rm.data.row import DatasetRow
from reasoner_rm.schema import Sample


def vicrit(row: DatasetRow, options: object) -> Iterable[Sample]:
    """Train: `solution_original`, `solution_target`; benchmark: `original_noun_phrases`, `changed_noun_phrases`."""
    bench = "changed_noun_phrases" in row.values
    was, now = ("original_noun_phrases", "changed_noun_phrases") if bench else ("solution_original", "solution_target")
    gold = {"original": row.text(was), "changed": row.text(now)}
    if row.optional("category"):
        gold["type"] = row.text("category")
    image = row.image("image" if "image" in row.values else "image_path")
    return [
        Sample(
            id=row.name, task="caption_critic", prompt=row.text("changed_caption"), images=(image,), gold=gold,
            group_id=f"image-{row.values.get('image_path') or row.name}", source=row.source,
        )
    ]  # fmt: skip


TRAIN = Recipe(
    "vicrit_train", "ViCrit-Train: 875k captions with one changed phrase (arXiv 2506.10128)", vicrit,
    hub="zyang39/ViCrit-Train", licence="", tables=("{split}*.jsonl", *PARQUET, "*.parquet"), splits=("train",),
)  # fmt: skip
