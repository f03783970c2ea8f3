"""Reading JSON files of a run that may be missing, incomplete or of another version: errors become notes."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Container
from pathlib import Path
from typing import Any, TypeVar

from reasoner_rm.errors import InputError
from reasoner_rm.utils.parse_files import parse_object

T = TypeVar("T")
Row = dict[str, Any]

UNREADABLE = (InputError, AttributeError, KeyError, TypeError, ValueError)
"""The errors of building a record from JSON of an unexpected shape; invalid JSON is a ValueError too."""


def number(value: object) -> float | None:
    """A finite number, or None for anything else.

    >>> number(3), number("3"), number(float("nan"))
    (3.0, None, None)
    """
    return float(value) if isinstance(value, (int, float)) and math.isfinite(value) else None


def mapping(row: Row, key: str) -> Row:
    """The object under a key; empty when the key is missing or null.

    Raises:
        TypeError, ValueError: the value is not an object.
    """
    return dict(row.get(key) or {})


def read_object(file: Path, build: Callable[[Row], T], notes: list[str]) -> T | None:
    """The record that ``build`` makes from a JSON file; None when the file is missing or cannot be read."""
    try:
        return build(_parse(file.read_bytes()))
    except FileNotFoundError:
        return None
    except UNREADABLE as error:
        notes.append(f"{file.name} cannot be read ({error}).")
        return None


def read_rows(
    file: Path, build: Callable[[Row], T], notes: list[str], keep: Container[int] | None = None
) -> dict[int, T]:
    """The records that ``build`` makes from a JSONL file, by line index; only the lines in ``keep`` if it is given."""
    records: dict[int, T] = {}
    errors: list[str] = []
    with file.open("rb") as lines:
        for index, line in enumerate(lines):
            if not line.strip() or (keep is not None and index not in keep):
                continue
            try:
                records[index] = build(_parse(line))
            except UNREADABLE as error:
                reason = str(error) if line.endswith(b"\n") else "it is truncated"
                errors.append(f"line {index + 1}: {reason}")
    if errors:
        notes.append(f"{file.name}: lines that cannot be read: {len(errors)} (first: {errors[0]}).")
    return records


def _parse(text: bytes) -> Row:
    """The object of a JSON text. Lone surrogates, which fonts and files have no form of, become question marks."""
    row = parse_object(text)
    if b"\\u" not in text:
        return row
    found: Row = json.loads(json.dumps(row, ensure_ascii=False).encode("utf-8", "replace"))
    return found


def read_text(file: Path) -> str:
    """A text file's content; empty when it is missing."""
    return file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""
