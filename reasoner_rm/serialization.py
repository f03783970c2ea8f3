"""Samples as JSON objects: the format of JSONL files, of `--sample FILE`, and of requests."""

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
    """A sample from its JSON object; relative image paths are relative to ``folder``.

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
            values[key] = _map_refs(values[key], lambda ref: str(folder / ref) if folder else ref, tuple)
    return Sample(**values)


def sample_to_dict(sample: Sample, folder: Path | None = None) -> dict[str, Any]:
    """The JSON object of a sample, without fields at their defaults; image paths relative to ``folder``.

    Raises:
        InputError: images in memory, which have no path to write.
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
            row[key] = _map_refs(row[key], lambda ref: _relative(ref, folder) if folder else ref, list)
    return row


def _flat(items: Iterable[Any]) -> list[Any]:
    """All references: a video may be the list of its frames."""
    return [ref for item in items for ref in (item if isinstance(item, (list, tuple)) else [item])]


def _map_refs(items: Iterable[Any], change: Callable[[str], str], container: Callable[[Iterable[Any]], Any]) -> Any:
    """Apply ``change`` to every reference, frames of videos included, in a new ``container`` (list or tuple)."""
    return container(_map_refs(i, change, container) if isinstance(i, (list, tuple)) else change(i) for i in items)


def _relative(ref: str, folder: Path) -> str:
    """A reference relative to a folder, with symbolic links resolved first, as ``..`` follows a link's target."""
    path, mark, member = ref.partition("#")
    parent, _, name = path.rpartition(os.sep)
    relative = _relative_folder(parent or (os.sep if path.startswith(os.sep) else ""), str(folder), os.getcwd())
    return (f"{relative}{os.sep}{name}" if relative else name) + mark + member


@functools.lru_cache(maxsize=4096)
def _relative_folder(target: str, folder: str, working_directory: str) -> str:
    """One folder relative to another; empty when they are the same. Cached per working directory, to resolve links
    once."""
    relative = os.path.relpath(os.path.realpath(target), os.path.realpath(folder))
    return "" if relative == os.curdir else relative
