"""One row of a dataset. Errors name the column that is missing or has the wrong type."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from reasoner_rm.data.data_uri import is_data_uri
from reasoner_rm.data.media import Media
from reasoner_rm.errors import InputError


class SkipRow(Exception):  # noqa: N818  # it is no error
    """The row is valid but not meant for this use (no label, another split); it is counted by reason."""


@dataclass(frozen=True, slots=True)
class DatasetRow:
    """A row as given to a recipe.

    ``name`` is unique in a build and independent of the row's content; ``number`` counts rows from 0. ``part`` is a
    recipe's own state. It is cleared at the start of each part, so that resuming gives the same result.
    """

    values: Mapping[str, Any]
    name: str
    number: int
    media: Media
    seed: int = 0
    source: str = ""
    part: dict[str, Any] = field(default_factory=dict)

    def optional(self, column: str) -> Any | None:
        """The value, or None where there is none: a missing column, null, NaN, an empty text."""
        value = self.values.get(column)
        if isinstance(value, float) and math.isnan(value):
            return None
        return None if isinstance(value, str) and not value.strip() else value

    def value(self, column: str) -> Any:
        """The value of a required column."""
        value = self.optional(column)
        if value is None:
            if column not in self.values:
                there = ", ".join(map(str, self.values)) or "nothing"
                raise InputError(f"no column {column!r}", remedy=f"there is {there:.200}")
            raise InputError(f"empty {column}", remedy="fill it in or remove the row")
        return value

    def text(self, column: str) -> str:
        """A text that is not blank."""
        return as_text(self.value(column), column)

    def number_of(self, column: str, low: float = -math.inf, high: float = math.inf) -> float:
        """A finite number within bounds; or a text that contains one."""
        return as_number(self.value(column), column, low, high)

    def items(self, column: str, n: int | None = None, least: int = 0) -> list[Any]:
        """A list, of ``n`` items where that is given."""
        return as_list(self.value(column), column, n, least)

    def parsed(self, column: str) -> Any:
        """The value of a JSON text; a value that is no text is returned unchanged."""
        value = self.value(column)
        if not isinstance(value, str):
            return value
        try:
            return json.loads(value)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{column} is no JSON: {error}") from None

    def one_of(self, column: str, meanings: Mapping[Any, Any]) -> Any:
        """The meaning of the value, by a table."""
        value = self.value(column)
        if not isinstance(value, (str, int, float)) or value not in meanings:
            known = ", ".join(map(str, meanings))
            raise InputError(f"{column} is {value!r:.60}", remedy=f"use one of {known:.200}")
        return meanings[value]

    def image(self, column: str, folder: str = "") -> str:
        """A reference to the image in a column, its relative path taken from ``folder``."""
        return self.refer(self.value(column), column, folder)

    def images(self, column: str, n: int | None = None, least: int = 0, folder: str = "") -> list[str]:
        """References to a column's images; a single one counts as a list of one."""
        value = self.value(column)
        value = value if isinstance(value, (list, tuple)) else [value]
        return [self.refer(item, column, folder) for item in as_list(value, column, n, least)]

    def video(self, column: str, folder: str = "") -> str | tuple[str, ...]:
        """A reference to the video in a column."""
        value = self.value(column)
        try:
            return self.media.video(f"{folder}/{value}" if folder and isinstance(value, str) else value)
        except InputError as error:
            raise InputError(f"{column}: {error}") from None

    def refer(self, value: Any, column: str, folder: str = "") -> str:
        """A reference to an image that a column's value names or holds."""
        if folder and type(value) is str and "://" not in value and not is_data_uri(value):
            value = f"{folder}/{value}"
        try:
            return self.media.image(value)
        except InputError as error:
            raise InputError(f"{column}: {error}") from None


def as_text(value: Any, what: str) -> str:
    """The value, if it is a text that is not blank; ``what`` names it in the error."""
    if not isinstance(value, str):
        raise InputError(f"{what} is {value!r:.60}", remedy="give a text")
    if not value.strip():
        raise InputError(f"empty {what}", remedy="fill it in or remove the row")
    return value


def as_number(value: Any, what: str, low: float = -math.inf, high: float = math.inf) -> float:
    """The value as a finite number within bounds."""
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not low <= number <= high or math.isinf(number):
        bounds = f" from {low:g}" * (low > -math.inf) + f" to {high:g}" * (high < math.inf)
        raise InputError(f"{what} is {value!r:.60}", remedy=f"give a number{bounds}")
    return number


def as_list(value: Any, what: str, n: int | None = None, least: int = 0) -> list[Any]:
    """The value as a list of ``n`` items, or of at least so many."""
    if not isinstance(value, (list, tuple)):
        raise InputError(f"{what} is {value!r:.60}", remedy="give a list")
    if (n is not None and len(value) != n) or len(value) < least:
        due = str(n) if n is not None else f"{least} or more"
        raise InputError(f"{what} holds {len(value)} where {due} are due", remedy="correct or remove the row")
    return list(value)


def as_dict(value: Any, what: str) -> Mapping[str, Any]:
    """The value, if it is an object."""
    if not isinstance(value, Mapping):
        raise InputError(f"{what} is {value!r:.60}", remedy="give an object")
    return value
