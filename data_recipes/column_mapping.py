"""Any table of one's own, by a mapping in YAML from a task's fields to columns.

    task: image_preference
    prompt: caption                  # a column
    images: [left_file, right_file]  # columns in source order; one column may hold a list
    label: winner                    # what is preferred ...
    labels: {left: 1, right: 0, same: 0.5}   # ... and what its values mean for the first candidate
    source: my-set                   # a text; so is licence
    licence: cc-by-4.0
    meta: {annotator: who}           # meta field: column

Instead of `label`: `votes: [column, column]`, `p_first: column`, or `winner_first: true`; or, for two candidates and
more, `ranks: column` or `[column, column, …]`, 1 = best, which makes a sample of each pair. Tasks that compare nothing
take `gold: {field: column}`; `kind: math` is how all answers of a `qa` are compared (choice, number, text, math);
without it a formula in LaTeX is `math` and another answer `text`. Places of images in their prompt, `<image>`, are
numbered or removed. Optional columns: `group`, `weight`, `target`; `responses` and `videos` are as `images`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import pydantic

from reasoner_rm.data.conversation_text import IMAGE, number_images
from reasoner_rm.data.pairing import pair, ranking
from reasoner_rm.data.recipe import Recipe, option
from reasoner_rm.data.row import DatasetRow, as_number, as_text
from reasoner_rm.errors import InputError
from reasoner_rm.schema import PAIRWISE_TASKS, Sample
from reasoner_rm.tasks import TASKS
from reasoner_rm.tasks.qa import answer_kind
from reasoner_rm.utils.parse_files import read_yaml


class Mapping(pydantic.BaseModel):
    """The file's content; every text is a column's name, except ``task``, ``source`` and ``licence``."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    task: str
    prompt: str
    images: str | tuple[str, ...] = ()
    videos: str | tuple[str, ...] = ()
    responses: str | tuple[str, ...] = ()
    label: str = ""
    labels: dict[bool | int | float | str, float] = {}
    p_first: str = ""
    votes: tuple[str, str] | None = None
    winner_first: bool = False
    ranks: str | tuple[str, ...] = ()
    gold: dict[str, str] = {}
    kind: Literal["", "choice", "number", "text", "math"] = ""
    target: str = ""
    group: str = ""
    weight: str = ""
    source: str = ""
    licence: str = ""
    meta: dict[str, str] = {}

    @pydantic.model_validator(mode="after")
    def _sound(self) -> Mapping:
        if self.task not in TASKS:
            raise ValueError(f"task {self.task!r} is unknown; known: {', '.join(TASKS)}")
        ways = [bool(self.label), bool(self.p_first), self.votes is not None, self.winner_first, bool(self.ranks)]
        if self.task in PAIRWISE_TASKS and sum(ways) != 1:
            raise ValueError(f"{self.task} needs one of label, p_first, votes, winner_first, ranks")
        if self.ranks and self.target:
            raise ValueError("a ranking takes no target: it becomes several pairs")
        if self.task in PAIRWISE_TASKS and self.gold:
            raise ValueError(f"{self.task} takes no gold: its label says what is better")
        if self.kind and (self.task != "qa" or "kind" in self.gold):
            raise ValueError("kind is how the answers of a qa are compared, unless a column of gold says it")
        if self.label and not self.labels:
            raise ValueError("label needs labels: what each of its values means, 1 for the first candidate, 0, 0.5")
        return self


@dataclass(frozen=True, slots=True)
class Options:
    mapping: str = option("", "the YAML file that says which column is what (required)")


def mapped(row: DatasetRow, options: Options) -> Iterable[Sample]:
    """A row converted by its mapping."""
    by = _mapping(options)
    return [replace(sample, source=by.source or row.source) for sample in _read(row, by)]


def _mapping(options: Options) -> Mapping:
    return mapping_of(options.mapping, changed(options.mapping))


def _read(row: DatasetRow, by: Mapping) -> list[Sample]:
    media = {name: _items(row, getattr(by, name), name) for name in ("images", "videos", "responses")}
    prompt, meta = row.text(by.prompt), {name: row.optional(column) for name, column in by.meta.items()}
    if "order" in meta:
        raise InputError("no meta field may be called 'order'", remedy="rename it: meta.order says what is shown first")
    weight = row.number_of(by.weight, 0) if by.weight else 1.0
    group = str(row.value(by.group)) if by.group else ""
    target = row.text(by.target) if by.target else None
    if by.task not in PAIRWISE_TASKS:
        gold = {k: str(row.value(c)) if k == "answer" else row.parsed(c) for k, c in by.gold.items()}
        fields: dict[str, Any] = {name: tuple(items) for name, items in media.items()}
        meta = {name: value for name, value in meta.items() if value is not None}
        if by.task == "qa" and "kind" not in gold:
            gold["kind"] = by.kind or answer_kind(str(gold.get("answer", "")))
        if IMAGE in prompt and prompt.count(IMAGE) == len(media["images"]):
            prompt = number_images([prompt])[0]
        return [
            Sample(
                id=row.name, task=by.task, prompt=prompt, target=target, gold=gold, weight=weight, group_id=group,
                meta=meta, **fields,
            )
        ]  # fmt: skip
    kind = PAIRWISE_TASKS[by.task]
    candidates = media.pop(kind.media)
    shared, candidates = candidates[: kind.shared], candidates[kind.shared :]
    media.pop("responses", None)
    more: dict[str, Any] = {"shared": shared, "weight": weight, "meta": meta, **media}
    if by.ranks:
        ranks = [as_number(value, column) for column, value in _cells(row, by.ranks)]
        return list(ranking(row, by.task, prompt, candidates, ranks, **({"group": group} if group else {}), **more))
    return [pair(row, by.task, prompt, candidates, _p_first(row, by), target=target, group=group, **more)]


def changed(name: str) -> int:
    """The modification time of a file in nanoseconds; 0 without a file."""
    return os.stat(name).st_mtime_ns if os.path.isfile(name) else 0


@lru_cache(maxsize=8)
def mapping_of(name: str, version: int = 0) -> Mapping:
    """The mapping in a file; ``version`` is its modification time, the key of a cache.

    Raises:
        InputError: none given, no YAML, an unknown field.
    """
    file = Path(name)
    if not name:
        raise InputError("mapped needs --mapping FILE.yaml", remedy="it says which column is what")
    try:
        return Mapping.model_validate(read_yaml(file, remedy="it maps columns to fields"))
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        what = f"{where}: {first['msg']}" if where else first["msg"]
        raise InputError(what, file=file, remedy=f"fields: {', '.join(Mapping.model_fields)}") from None


def _items(row: DatasetRow, columns: str | tuple[str, ...], name: str) -> list[Any]:
    found = _cells(row, columns)
    if name == "responses":
        return [as_text(value, column) for column, value in found]
    return [row.refer(value, column) if name == "images" else row.media.video(value) for column, value in found]


def _cells(row: DatasetRow, columns: str | tuple[str, ...]) -> list[tuple[str, Any]]:
    """The values of the columns, each with its column name; a single column may hold a list."""
    found: list[tuple[str, Any]] = []
    for column in (columns,) if isinstance(columns, str) else columns:
        value = row.value(column)
        found += [(column, item) for item in value] if isinstance(value, (list, tuple)) else [(column, value)]
    return found


def _p_first(row: DatasetRow, by: Mapping) -> float:
    if by.winner_first:
        return 1.0
    if by.p_first:
        return row.number_of(by.p_first, 0, 1)
    if by.votes:
        one, two = (row.number_of(column, 0) for column in by.votes)
        if one + two == 0:
            raise InputError("no votes for either candidate", remedy="remove the row")
        return one / (one + two)
    label = row.value(by.label)
    meaning = next((p for key, p in by.labels.items() if _is_label(key, label)), None)
    if meaning is None:
        raise InputError(f"{by.label} is {label!r:.60}", remedy=f"labels has {', '.join(map(str, by.labels))}")
    return as_number(meaning, f"labels.{label}", 0, 1)


YAML_WORDS = {True: ("true", "yes", "on", "y"), False: ("false", "no", "off", "n")}
"""Words that YAML reads as truth values, so that a key `yes` is True; in a table they are texts."""


def _is_label(key: bool | int | float | str, value: Any) -> bool:
    """Whether a cell has the value that a key of `labels` means; YAML and tables differ in the type of 1 and yes."""
    text = str(value).strip()
    if isinstance(key, bool):
        return text.lower() in YAML_WORDS[key]
    if isinstance(key, str):
        return text == key.strip()
    try:
        return float(text) == key
    except ValueError:
        return False


ENDS = ("jsonl", "csv", "tsv", "json", "parquet")
MAPPED = Recipe(
    "mapped", "any JSONL, CSV, parquet or hub dataset, by a mapping in YAML", mapped,
    tables=(*(f"{start}*.{end}" for start in ("{split}", "data/{split}", "") for end in ENDS),),
    options=Options, licence_of=lambda options: _mapping(options).licence,
)  # fmt: skip
