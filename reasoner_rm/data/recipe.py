"""A recipe: the files of a dataset, and the conversion of a row to samples."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reasoner_rm.data.row import DatasetRow
from reasoner_rm.errors import InputError
from reasoner_rm.schema import Sample

PARQUET = ("{split}*.parquet", "data/{split}*.parquet", "**/{split}*.parquet")


def option(default: Any, text: str, **more: Any) -> Any:
    """A field of a recipe's options: its default and its `--help` text."""
    return field(default=default, metadata={"help": text, **more})


@dataclass(frozen=True, slots=True)
class NoOptions:
    """The options of recipes without any."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """A dataset family.

    ``convert(row, options)`` gives a row's samples; it raises InputError for a bad row and SkipRow for one
    that is not meant for this use. ``tables`` are patterns of the files in a downloaded folder, ``{split}`` is the
    split. ``explode`` turns one file into rows where it is no table of them. Rows in a line with the same
    ``group_by`` become one row, whose column `rows` holds them. Columns in ``unread`` are large and not used; they are
    never read. ``licence_of(options)`` gives the licence where it depends on the options.
    """

    name: str
    title: str
    convert: Callable[[DatasetRow, Any], Iterable[Sample]]
    hub: str = ""
    licence: str = ""
    licence_of: Callable[[Any], str] | None = None
    tables: Sequence[str] = PARQUET
    splits: tuple[str, ...] = ("train", "validation", "test")
    options: type = NoOptions
    explode: Callable[[Path], Iterable[tuple[int, Any]]] | None = None
    group_by: str = ""
    unread: tuple[str, ...] = ()
    note: str = ""

    def chosen(self, **values: Any) -> Any:
        """The options with these values.

        Raises:
            InputError: an unknown option, or a value that is not among its choices.
        """
        fields = {f.name: f for f in dataclasses.fields(self.options)}
        for name, value in values.items():
            if name not in fields:
                raise InputError(f"{self.name} has no option {name!r}", remedy=f"there are {', '.join(fields)}")
            choices = fields[name].metadata.get("choices")
            if choices and value not in choices:
                raise InputError(f"{name} is {value!r}", remedy=f"choose among {', '.join(map(str, choices))}")
        return self.options(**values)

    def files(self, data: Path, split: str) -> list[Path]:
        """The tables of a split: the file itself, or the files of a folder that match the first pattern with a match.

        Raises:
            InputError: there is none.
        """
        if data.is_file():
            return [data]
        patterns = [pattern.replace("{split}", split) for pattern in self.tables]
        for pattern in patterns:
            found = sorted(path for path in data.glob(pattern) if path.is_file())
            if found:
                return found
        what = f"no table of {self.name}'s split {split!r} in it"
        raise InputError(what, file=data, remedy=f"looked for {', '.join(patterns)}; --data may name a file")


def asdict(options: Any) -> Mapping[str, Any]:
    """The options as JSON, for plan and dataset card."""
    return {k: str(v) if isinstance(v, Path) else v for k, v in dataclasses.asdict(options).items()}
