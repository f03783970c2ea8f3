"""JSON and YAML that was written earlier and may be damaged since: one line says where."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from reasoner_rm.errors import InputError

MAX_DEPTH = 100
"""Lists and objects inside one another. Deeper ones end in a RecursionError of what goes through them."""
_SUSPECT = re.compile(r"\d{300}|[eE]\+?\d{3}")
"""What a number that no float holds has in it."""


def parse_object(text: bytes, *, nan: bool = True) -> dict[str, Any]:
    """The JSON object of a line or a file.

    Args:
        nan: whether NaN and infinities may occur, which Python writes and JSON does not have.

    Raises:
        ValueError: not UTF-8, cut off, malformed, no object, or values as of `check_values`.
    """
    try:
        decoded = text.decode("utf-8-sig")
        row = json.loads(decoded, parse_constant=None if nan else _no_constant)
    except RecursionError as error:
        raise ValueError(f"not valid JSON: {error}") from None
    except ValueError as error:
        raise ValueError(f"not valid JSON: {error}") from error
    if not isinstance(row, dict):
        raise ValueError(f"a row is a JSON object, this is {type(row).__name__}")
    check_values(row, decoded, nan=nan)
    return row


def check_values(value: Any, text: str, *, nan: bool = False) -> None:
    """Check the values of a JSON text: what it may hold and Python's floats and stack may not.

    Raises:
        ValueError: a number beyond those of a float, or more than `MAX_DEPTH` lists and objects in one another.
    """
    if text.count("[") + text.count("{") <= MAX_DEPTH and not _SUSPECT.search(text):
        return
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        for item in level:
            if isinstance(item, (int, float)) and not _is_float(item) and not (nan and isinstance(item, float)):
                raise ValueError("a number is beyond 1.8e308, the largest")
        level = [inner for item in level for inner in _inner(item)]
        if not level:
            return
    raise ValueError(f"more than {MAX_DEPTH} lists and objects are in one another")


def _is_float(number: int | float) -> bool:
    try:
        return math.isfinite(number)
    except OverflowError:
        return False


def _inner(value: Any) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


def read_json(file: Path, remedy: str) -> dict[str, Any]:
    """The JSON object in a file.

    Args:
        remedy: what to do where there is none.

    Raises:
        InputError: the file cannot be read, or holds something else: with the line, where it has one.
    """
    try:
        return parse_object(file.read_bytes())
    except ValueError as error:
        line = getattr(error.__cause__, "lineno", None)
        raise InputError(str(error), file=file, line=line, remedy=remedy) from None
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})", file=file, remedy=remedy) from None


def read_yaml(file: Path, remedy: str) -> dict[str, Any]:
    """The mapping in a YAML file. See `read_json`."""
    try:
        found = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: not UTF-8, or no such date
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or str(error)
        line = mark.line + 1 if mark else None
        raise InputError(f"not valid YAML: {problem}", file=file, line=line, remedy=remedy) from None
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})", file=file, remedy=remedy) from None
    if not isinstance(found, dict):
        raise InputError(f"expected a mapping, this is {type(found).__name__}", file=file, remedy=remedy)
    return found


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no number")
