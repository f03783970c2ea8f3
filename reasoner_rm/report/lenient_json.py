"""Reading files of a run that may be missing, half written or older than this code: what fails becomes a note."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Container
from pathlib import Path
from typing import Any, TypeVar

from reasoner_rm.errors import InputError

T = TypeVar("T")
Row = dict[str, Any]

UNREADABLE = (InputError, AttributeError, KeyError, TypeError, ValueError)
"""What building a record from JSON of an unexpected shape can raise; broken JSON is a ValueError too."""


def number(value: object) -> float | None:
    """A finite number, or None for anything else.

    >>> number(3), number("3"), number(float("nan"))
    (3.0, None, None)
    """
    return float(value) if isinstance(value, (int, float)) and math.isfinite(value) else None


def mapping(row: Row, key: str) -> Row:
    """What stands under a key that may be missing or null.

    Raises:
        TypeError, ValueError: something else than a mapping.
    """
    return dict(row.get(key) or {})


def record(file: Path, build: Callable[[Row], T], notes: list[str]) -> T | None:
    """What ``build`` makes of a JSON file; None when it is missing or cannot be read."""
    try:
        return build(_object(file.read_bytes()))
    except FileNotFoundError:
        return None
    except UNREADABLE as error:
        notes.append(f"{file.name} cannot be read ({error}).")
        return None


def records(
    file: Path, build: Callable[[Row], T], notes: list[str], keep: Container[int] | None = None
) -> dict[int, T]:
    """What ``build`` makes of the lines of a JSONL file, by their index; ``keep`` says which lines to read."""
    built: dict[int, T] = {}
    broken: list[str] = []
    with file.open("rb") as lines:
        for index, line in enumerate(lines):
            if not line.strip() or (keep is not None and index not in keep):
                continue
            try:
                built[index] = build(_object(line))
            except UNREADABLE as error:
                why = str(error) if line.endswith(b"\n") else "it is cut off"
                broken.append(f"line {index + 1}: {why}")
    if broken:
        notes.append(f"{file.name}: lines that cannot be read: {len(broken)} (first: {broken[0]}).")
    return built


def text(file: Path) -> str:
    """A text file's content; empty when it is missing."""
    return file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""


def _object(data: bytes) -> Row:
    row = json.loads(data)
    if not isinstance(row, dict):
        raise ValueError(f"a JSON object is expected, this is {type(row).__name__}")
    return row
