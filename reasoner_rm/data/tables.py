"""Rows of a table, one at a time in constant memory: `.csv`, `.tsv`, `.jsonl`, `.json`, `.parquet`.

A `.json` is an array of objects, or has one object a line, as a `.jsonl` (so are POPE's files published).

Each row comes with its line, in parquet its number from 1. For a single bad row its InputError takes the row's place;
a table that cannot be read further raises.
"""

from __future__ import annotations

import codecs
import csv
import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from reasoner_rm.data.io import json_object
from reasoner_rm.errors import InputError
from reasoner_rm.utils.parse_files import check_values

SUFFIXES = (".csv", ".tsv", ".jsonl", ".json", ".parquet")
MAX_OBJECT = 64 * 2**20
"""The most characters of an object in a `.json` array or a cell in a `.csv`; a longer one means a broken file."""

csv.field_size_limit(MAX_OBJECT)  # the library's own is 131,072 characters

_CHUNK = 2**20
_GAP = re.compile(r"[\s,]*")

Row: TypeAlias = Mapping[str, Any]
Placed: TypeAlias = "tuple[int, Row | InputError]"
Header: TypeAlias = Callable[[list[str]], None]


def rows(file: Path, header: Header | None = None, unread: Collection[str] = ()) -> Iterator[Placed]:
    """The rows of one table with their lines.

    Args:
        header: gets the column names of a `.csv`, `.tsv` or `.parquet` and may refuse them with an InputError.
        unread: columns of a `.parquet` that are not read.

    Raises:
        InputError: the table cannot be read, or not beyond some line.
    """
    suffix = file.suffix.lower()
    if not file.is_file():
        raise InputError("no such file", file=file, remedy=f"give a {', '.join(SUFFIXES)} file")
    if suffix not in SUFFIXES:
        raise InputError("not a table by its suffix", file=file, remedy=f"use {', '.join(SUFFIXES)}")
    if suffix == ".parquet":
        from reasoner_rm.data.parquet import rows as parquet_rows

        yield from parquet_rows(file, header, unread)
        return
    if not _starts(file):
        raise InputError("the file is empty", file=file, remedy="a header and at least one row are needed")
    if suffix == ".jsonl" or (suffix == ".json" and _is_json_lines(file)):
        yield from _json_lines(file)
    elif suffix == ".json":
        yield from _json_array(file)
    else:
        yield from _delimited(file, header)


def _starts(file: Path) -> bool:
    """Whether the file contains more than white space."""
    with file.open("rb") as lines:
        return any(line.strip(b" \t\r\n\xef\xbb\xbf") for line in lines)


def _is_json_lines(file: Path) -> bool:
    """Whether the first line with text is an object of its own."""
    with file.open("rb") as lines:
        first = b""
        while not first.strip(b" \t\r\n\xef\xbb\xbf"):
            first = lines.readline(MAX_OBJECT)
    if not first.lstrip(b" \t\xef\xbb\xbf").startswith(b"{"):
        return False
    try:
        json_object(first)
    except InputError:
        return False
    return True


def _lines(file: Path) -> Iterator[str]:
    with file.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                yield line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError:
                raise _not_utf8(file, number) from None


def _not_utf8(file: Path, line: int) -> InputError:
    return InputError("not UTF-8", file=file, line=line, remedy="save the table as UTF-8")


def _delimited(file: Path, header: Header | None) -> Iterator[Placed]:
    lines = _lines(file)
    top = next((line for line in lines if line.strip()), "")
    delimiter = max(",;\t|", key=top.count)  # the names hold none of these, whatever the cells hold
    reader = csv.reader(_lines(file), delimiter=delimiter, strict=True)
    columns: list[str] = []
    while True:
        line = reader.line_num + 1
        try:
            cells = [cell.strip() for cell in next(reader)]
        except StopIteration:
            return
        except csv.Error as error:  # an open quote swallows the rows below, so no row can be skipped alone
            raise InputError(f"{error}", file=file, line=line, remedy='close the quote; write " inside as ""') from None
        if not any(cells):
            continue
        if not columns:
            columns = cells
            _see(header, columns, file, line)
        elif len(cells) != len(columns):
            what = f"{len(cells)} cells under {len(columns)} columns"
            yield line, InputError(what, remedy=f"put a text that holds {delimiter!r} in double quotes")
        else:
            yield line, {c: cell for c, cell in zip(columns, cells, strict=True) if c}  # pandas' index has no name


def _see(header: Header | None, columns: list[str], file: Path, line: int) -> None:
    names = [name for name in columns if name]
    try:
        if len(set(names)) < len(names):
            raise InputError("two columns have the same name", remedy="rename one")
        if header:
            header(columns)
    except InputError as error:
        raise InputError(str(error), file=file, line=line) from None


def _json_lines(file: Path) -> Iterator[Placed]:
    with file.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                try:
                    yield number, json_object(line)
                except InputError as error:
                    yield number, error


def _json_array(file: Path) -> Iterator[Placed]:
    """The objects of an array, decoded one by one from a buffer that moves through the file."""
    decoder, window = json.JSONDecoder(), _Window(file)
    window.skip(re.compile(r"\s*"))
    if not window.take("["):
        raise InputError("not a JSON array", file=file, remedy="write [{…}, {…}], or one object a line")
    while True:
        window.skip(_GAP)
        if window.take("]"):
            window.skip(re.compile(r"\s*"))
            if window.left():
                raise window.error("text after the array")
            return
        line = window.line
        value, text = window.decode(decoder)
        yield line, _row_of(value, text)


def _row_of(value: Any, text: str) -> Row | InputError:
    if not isinstance(value, dict):
        return InputError(f"a row is a JSON object, this is {value!r:.60}")
    try:
        check_values(value, text)
    except ValueError as error:
        return InputError(str(error), remedy="repair or remove the row")
    return value


class _Window:
    """A buffer over a text file. It grows while an object is incomplete and drops what was consumed."""

    def __init__(self, file: Path):
        self.file, self.line, self._text, self._at, self._done = file, 1, "", 0, False
        self._source = file.open("rb")
        self._decode = codecs.getincrementaldecoder("utf-8-sig")()

    def skip(self, gap: re.Pattern[str]) -> None:
        while True:
            end = gap.match(self._text, self._at).end()  # type: ignore[union-attr]  # it matches nothing, too
            self._pass(end)
            if end < len(self._text) or not self._grow():
                return

    def take(self, mark: str) -> bool:
        if self._text.startswith(mark, self._at):
            self._at += len(mark)
            return True
        return False

    def left(self) -> bool:
        return self._at < len(self._text)

    def decode(self, decoder: json.JSONDecoder) -> tuple[Any, str]:
        """The next value, and its text."""
        while True:
            try:
                value, end = decoder.raw_decode(self._text, self._at)
            except (ValueError, RecursionError) as error:
                if len(self._text) - self._at > MAX_OBJECT or not self._grow():
                    at = getattr(error, "pos", self._at)
                    self.line += self._text.count("\n", self._at, at)
                    raise self.error(getattr(error, "msg", str(error))) from None
                continue
            if end == len(self._text) and self._grow():  # a number may go on behind the window
                continue
            text = self._text[self._at : end]
            self._pass(end)
            return value, text

    def error(self, what: str) -> InputError:
        remedy = "repair it, or use .jsonl"
        return InputError(f"not valid JSON: {what}", file=self.file, line=self.line, remedy=remedy)

    def _pass(self, end: int) -> None:
        self.line += self._text.count("\n", self._at, end)
        self._at = end

    def _grow(self) -> bool:
        """Read more; False at the end. The size is doubled each time, so that a long object is not parsed too often."""
        if self._done:
            return False
        data = self._source.read(max(_CHUNK, len(self._text) - self._at))
        try:
            more = self._decode.decode(data, final=not data)
        except UnicodeDecodeError as error:
            line = self.line + self._text.count("\n", self._at) + data.count(b"\n", 0, error.start)
            raise _not_utf8(self.file, line) from None
        self._text, self._at = self._text[self._at :] + more, 0
        if not data:
            self._done = True
            self._source.close()
        return bool(data)
