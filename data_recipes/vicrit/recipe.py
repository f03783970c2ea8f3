"""A user's captions, or PixMo-Cap's, with one injected error by rule, balanced by type."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from data_recipes.vicrit.rules import Change, inject
from data_recipes.vicrit.verify import verify
from reasoner_rm.data.recipe import PARQUET, Recipe, option
from reasoner_rm.data.row import DatasetRow, SkipRow
from reasoner_rm.data.tables import rows
from reasoner_rm.errors import InputError
from reasoner_rm.schema import Sample


@dataclass(frozen=True, slots=True)
class Options:
    image: str = option("image", "column of the image")
    caption: str = option("caption", "column of the caption")
    image_map: str = option("", "a table with `address` and `path`, for images given as addresses")


def vicrit(row: DatasetRow, options: Options) -> Iterable[Sample]:
    """A true caption becomes one with a wrong phrase."""
    caption = row.text(options.caption)
    image = _image(row, options)
    change = inject(caption, random.Random(f"vicrit/{row.seed}/{row.name}"), _made(row))
    if change is None:
        raise SkipRow("nothing in the caption that a rule can change")
    verify(caption, change.caption, change.original, change.changed, change.type)
    _made(row)[change.type] += 1
    return [critic(row, image, change)]


def critic(row: DatasetRow, image: str, change: Change) -> Sample:
    """The changed caption as a sample."""
    gold = {"original": change.original, "changed": change.changed, "type": change.type}
    return Sample(
        id=row.name, task="caption_critic", prompt=change.caption, images=(image,), gold=gold,
        source=row.source, meta={"span": list(change.span), "by": "rules"},
    )  # fmt: skip


def _made(row: DatasetRow) -> Counter[str]:
    """Counts of each type in this part of the build; if every part is balanced, so is the whole."""
    made: Counter[str] = row.part.setdefault("made", Counter())
    return made


def _image(row: DatasetRow, options: Options) -> str:
    if not options.image_map:
        return row.image(options.image)
    address = row.text(options.image)
    path = _map(Path(options.image_map)).get(address)
    if path is None:
        raise InputError(f"{address:.80} is not in {options.image_map}", remedy="add it or leave the row out")
    return row.refer(path, options.image)


@lru_cache(maxsize=2)
def _map(file: Path) -> dict[str, str]:
    found = {}
    for line, entry in rows(file):
        if isinstance(entry, InputError) or not {"address", "path"} <= entry.keys():
            raise InputError("a row needs address and path", file=file, line=line)
        found[str(entry["address"])] = str(entry["path"])
    return found


TABLES = ("{split}*.jsonl", "*.jsonl", "*.csv", *PARQUET, "*.parquet")
VICRIT = Recipe(
    "vicrit", "image and caption pairs of one's own, one phrase made wrong by rule (arXiv 2506.10128)", vicrit,
    tables=TABLES, splits=("train",), options=Options,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class PixmoOptions(Options):
    image: str = option("image_url", "column of the image")


PIXMO = Recipe(
    "pixmo_cap", "PixMo-Cap: 717k long captions, one phrase made wrong by rule (arXiv 2409.17146)", vicrit,
    hub="allenai/pixmo-cap", licence="odc-by", tables=TABLES, splits=("train",), options=PixmoOptions,
    note="its images are addresses: --remote fetches them, --image-map names copies",
)  # fmt: skip
