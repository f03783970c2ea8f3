"""The rows of a build: from the files of a folder, one file, or a hub id through `datasets`."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from reasoner_rm.data.recipe import Recipe
from reasoner_rm.data.tables import Placed, rows
from reasoner_rm.errors import InputError

_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")


def is_hub_id(data: str) -> bool:
    """Whether this is a hub id: ORG/NAME, and no such path on disk."""
    return _HUB_ID.fullmatch(data) is not None and not Path(data).exists()


class Source:
    """The rows of one split of a dataset, in a fixed order.

    Args:
        data: a file or folder in the dataset's own layout, or a hub id.

    Raises:
        InputError: no such file, or no table in the folder.
    """

    def __init__(self, recipe: Recipe, data: str, split: str, config: str | None = None):
        self.recipe, self.data, self.split, self.config = recipe, data, split, config
        self.hub = is_hub_id(data)
        self.files: list[Path] = []
        if not self.hub:
            path = Path(data)
            if not path.exists():
                remedy = "give the dataset's file, folder or hub id"
                raise InputError("no such file or folder", file=path, remedy=remedy)
            self.files = recipe.files(path, split)

    @property
    def root(self) -> Path:
        """The folder of relative image paths."""
        path = Path(self.data)
        return Path(".") if self.hub else path if path.is_dir() else path.parent

    def fingerprint(self) -> list[Any]:
        """A fingerprint of the files: names, sizes, modification times."""
        if self.hub:
            return [self.data, self.config, self.split]
        return [[str(f), f.stat().st_size, f.stat().st_mtime_ns] for f in self.files]

    def __iter__(self) -> Iterator[tuple[str, Placed]]:
        """Each row with its file and its line there."""
        if self.hub:
            yield from ((self.data, placed) for placed in self._grouped(self._streamed()))
            return
        for file in self.files:
            yield from ((str(file), placed) for placed in self._grouped(self._read(file)))

    def _read(self, file: Path) -> Iterable[Placed]:
        return self.recipe.explode(file) if self.recipe.explode else rows(file, unread=self.recipe.unread)

    def _grouped(self, read: Iterable[Placed]) -> Iterable[Placed]:
        return _in_groups(read, self.recipe.group_by) if self.recipe.group_by else read

    def _streamed(self) -> Iterator[Placed]:
        try:
            import datasets
        except ImportError:
            raise InputError("a hub id needs the library `datasets`", remedy="pip install datasets") from None
        try:
            stream = datasets.load_dataset(self.data, self.config, split=self.split, streaming=True)
            if unread := sorted({*self.recipe.unread} & {*(stream.features or {})}):
                stream = stream.remove_columns(unread)
            for name, feature in (stream.features or {}).items():
                if isinstance(feature, datasets.Image):  # bytes as they are stored, not decoded to be encoded again
                    stream = stream.cast_column(name, datasets.Image(decode=False))
        except Exception as error:  # the hub's client raises many kinds of errors
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            remedy = "check name, configuration and split, or download it and give the folder"
            raise InputError(f"cannot load {self.data!r} ({reason:.160})", remedy=remedy) from None
        number = 0
        try:
            for number, row in enumerate(stream, start=1):
                yield number, row
        except Exception as error:  # mostly errors of the network
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            what = f"the stream ended with an error after {number} rows ({reason:.160})"
            remedy = "give the same command again: it resumes at the unfinished part"
            raise InputError(what, file=self.data, remedy=remedy) from None


def _in_groups(read: Iterable[Placed], column: str) -> Iterator[Placed]:
    """Neighbouring rows with the same value as one row ``{column: value, "rows": [...]}``; others as they are."""

    def key(placed: Placed) -> tuple[bool, Any]:
        grouped = not isinstance(placed[1], InputError) and placed[1].get(column) is not None
        return grouped, placed[1][column] if grouped and not isinstance(placed[1], InputError) else placed[0]

    for (grouped, value), members in itertools.groupby(read, key):
        if grouped:
            found = list(members)
            yield found[0][0], {column: value, "rows": [row for _, row in found]}
        else:
            yield from members
