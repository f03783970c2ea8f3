"""A sample as a JSON object and back: the shape of a line on disk, of `--sample FILE`, of a request."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import math
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from reasoner_rm.errors import InputError
from reasoner_rm.schema import Sample

_DEFAULTS: Mapping[str, Any] = {
    f.name: f.default_factory() if callable(f.default_factory) else f.default for f in dataclasses.fields(Sample)
}
_REQUIRED = ("id", "task", "prompt")
_LISTS = ("images", "videos", "responses")
_TYPES: Mapping[str, type | tuple[type, ...]] = {
    "id": str, "task": str, "prompt": str, "target": (str, type(None)), "gold": dict, "meta": dict,
    "weight": (int, float), "group_id": str, "source": str, "images": list, "videos": list, "responses": list,
}  # fmt: skip


def sample_from_dict(row: Mapping[str, Any], folder: Path | None = None) -> Sample:
    """A sample from its JSON object; relative image paths are taken from ``folder``.

    Raises:
        InputError: a missing, unknown or wrongly typed field.
    """
    for key in _REQUIRED:
        if key not in row:
            raise InputError(f"a sample needs {key!r}", remedy=f"required fields: {', '.join(_REQUIRED)}")
    for key, value in row.items():
        if key not in _DEFAULTS:
            near = difflib.get_close_matches(key, _DEFAULTS, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"fields: {', '.join(_DEFAULTS)};"
            raise InputError(f"unknown field {key!r}", remedy=f"{hint} put extras into meta")
        if not isinstance(value, _TYPES[key]) or isinstance(value, bool):
            raise InputError(f"field {key!r} is {type(value).__name__}: {str(value)[:60]!r}")
    if not 0 <= row.get("weight", 1) < math.inf:
        raise InputError(f"field 'weight' is {row['weight']}", remedy="give a number from 0")
    values: dict[str, Any] = {k: tuple(v) if k in _LISTS else v for k, v in row.items()}
    for key in _LISTS:
        items = values.get(key, ())
        if any(not isinstance(item, str) for item in (_flat(items) if key == "videos" else items)):
            raise InputError(f"field {key!r} must hold strings")
    for key in ("images", "videos"):
        if key in values:
            values[key] = _each(values[key], lambda ref: str(folder / ref) if folder else ref, tuple)
    return Sample(**values)


def sample_to_dict(sample: Sample, folder: Path | None = None) -> dict[str, Any]:
    """The JSON object of a sample, without fields at their defaults; image paths relative to ``folder``.

    Raises:
        InputError: images held in memory, which have no reference to write.
    """
    row: dict[str, Any] = {}
    for name, default in _DEFAULTS.items():
        value = getattr(sample, name)
        if name in _REQUIRED or (value != default and not (name == "group_id" and value == sample.id)):
            row[name] = list(value) if isinstance(value, tuple) else value
    for key in ("images", "videos"):
        if key in row:
            if any(not isinstance(ref, str) for ref in _flat(row[key])):
                raise InputError(f"sample {sample.id!r} holds {key} in memory", remedy="save them as files first")
            row[key] = _each(row[key], lambda ref: _relative(ref, folder) if folder else ref, list)
    return row


def _flat(items: Iterable[Any]) -> list[Any]:
    """All references: a video may be the list of its frames."""
    return [ref for item in items for ref in (item if isinstance(item, (list, tuple)) else [item])]


def _each(items: Iterable[Any], change: Callable[[str], str], kind: Callable[[Iterable[Any]], Any]) -> Any:
    """Every reference changed, those of a video's frames too; ``kind`` (list or tuple) holds them."""
    return kind(_each(i, change, kind) if isinstance(i, (list, tuple)) else change(i) for i in items)


def _relative(ref: str, folder: Path) -> str:
    """The path from a folder, links on the way resolved: ``..`` after a link leaves from where the link points."""
    container, mark, inside = ref.partition("#")
    above, _, name = container.rpartition(os.sep)
    way = _way(above or (os.sep if container.startswith(os.sep) else ""), str(folder), os.getcwd())
    return (f"{way}{os.sep}{name}" if way else name) + mark + inside


@functools.lru_cache(maxsize=4096)
def _way(above: str, folder: str, here: str) -> str:
    """From one folder to another, both taken from ``here``; empty when they are the same. The disk is asked once."""
    way = os.path.relpath(os.path.realpath(above), os.path.realpath(folder))
    return "" if way == os.curdir else way
