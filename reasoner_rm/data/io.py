"""Samples on disk: one JSON object a line. Reading names file and line of what is wrong; writing is all or nothing."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import json
import math
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from reasoner_rm.errors import InputError
from reasoner_rm.schema import Sample
from reasoner_rm.tasks import get_task
from reasoner_rm.tasks.escape import check_text

_FIELDS = {f.name: f for f in dataclasses.fields(Sample)}
_REQUIRED = ("id", "task", "prompt")
_LISTS = ("images", "videos", "responses")
_TYPES: Mapping[str, type | tuple[type, ...]] = {
    "id": str, "task": str, "prompt": str, "target": (str, type(None)), "gold": dict, "meta": dict,
    "weight": (int, float), "group_id": str, "source": str, "images": list, "videos": list, "responses": list,
}  # fmt: skip


def load_samples(file: str | Path, *, check: bool = True) -> list[Sample]:
    """Read and check a JSONL file of samples. Image paths become relative to the current folder.

    Raises:
        InputError: a missing or empty file, a truncated or malformed line, an unknown field or task, gold that
            does not fit the task, an image that is not there: each with file and line.
    """
    path = Path(file)
    if not path.is_file():
        raise InputError("no such file", file=path, remedy="give a JSONL file of samples")
    samples = []
    seen: dict[str, int] = {}
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                sample = sample_from_row(json_object(line), path.parent)
                if check:
                    check_sample(sample)
            except InputError as error:
                raise InputError(str(error), file=path, line=number) from None
            if sample.id in seen:
                what = f"id {sample.id!r} stands on line {seen[sample.id]} already"
                raise InputError(what, file=path, line=number, remedy="make ids unique")
            seen[sample.id] = number
            samples.append(sample)
    if not samples:
        raise InputError("no samples in it", file=path, remedy="an empty dataset cannot be used")
    return samples


def sample_from_row(row: Mapping[str, Any], folder: Path | None = None) -> Sample:
    """A sample from its JSON object; relative image paths are taken from ``folder``.

    Raises:
        InputError: a missing, unknown or wrongly typed field.
    """
    for key in _REQUIRED:
        if key not in row:
            raise InputError(f"a sample needs {key!r}", remedy=f"required fields: {', '.join(_REQUIRED)}")
    for key, value in row.items():
        if key not in _FIELDS:
            near = difflib.get_close_matches(key, _FIELDS, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"fields: {', '.join(_FIELDS)};"
            raise InputError(f"unknown field {key!r}", remedy=f"{hint} put extras into meta")
        if not isinstance(value, _TYPES[key]) or isinstance(value, bool):
            raise InputError(f"field {key!r} is {type(value).__name__}: {str(value)[:60]!r}")
    if not 0 <= row.get("weight", 1) < math.inf:
        raise InputError(f"field 'weight' is {row['weight']}", remedy="give a number from 0")
    values: dict[str, Any] = {k: tuple(v) if k in _LISTS else v for k, v in row.items()}
    for key in _LISTS:
        if any(not isinstance(item, str) for item in values.get(key, ())):
            raise InputError(f"field {key!r} must hold strings")
    if folder is not None:
        for key in ("images", "videos"):
            if key in values:
                values[key] = tuple(str(folder / ref) for ref in values[key])
    return Sample(**values)


def sample_to_row(sample: Sample, folder: Path | None = None) -> dict[str, Any]:
    """The JSON object of a sample, without fields at their defaults; image paths relative to ``folder``.

    Raises:
        InputError: images held in memory, which have no reference to write.
    """
    row: dict[str, Any] = {}
    for name, spec in _FIELDS.items():
        value = getattr(sample, name)
        default = spec.default_factory() if callable(spec.default_factory) else spec.default
        if name in _REQUIRED or (value != default and not (name == "group_id" and value == sample.id)):
            row[name] = list(value) if isinstance(value, tuple) else value
    for key in ("images", "videos"):
        if key in row:
            if any(not isinstance(ref, str) for ref in row[key]):
                raise InputError(f"sample {sample.id!r} holds {key} in memory", remedy="save them as files first")
            row[key] = [_relative(ref, folder) if folder else ref for ref in row[key]]
    return row


def _relative(ref: str, folder: Path) -> str:
    """The path from a folder, links on the way resolved: ``..`` after a link leaves from where the link points."""
    above, name = os.path.split(ref)
    return os.path.relpath(os.path.join(os.path.realpath(above), name), os.path.realpath(folder))


def write_samples(file: str | Path, samples: Iterable[Sample]) -> int:
    """Write samples as JSONL, whole or not at all; the number written."""
    count = 0
    with atomic(file) as out:
        for sample in samples:
            out.write(json.dumps(sample_to_row(sample, Path(file).parent), ensure_ascii=False) + "\n")
            count += 1
    return count


@contextlib.contextmanager
def atomic(file: str | Path) -> Iterator[IO[str]]:
    """A text file that appears under its name only once it is whole."""
    path = Path(file)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def json_object(line: bytes) -> dict[str, Any]:
    """The JSON object of one line.

    Raises:
        InputError: it is not UTF-8, cut off, malformed (NaN is no JSON), or no object.
    """
    try:
        row = json.loads(line, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        cut = "" if line.endswith(b"\n") else " (the line is cut off)"
        raise InputError(f"not valid JSON: {error}{cut}", remedy="repair or remove the line") from None
    if not isinstance(row, dict):
        raise InputError(f"a row is a JSON object, this is {type(row).__name__}")
    return row


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no number")


def check_sample(sample: Sample) -> None:
    """Whether a sample fits its task, its text can be encoded and its images are there.

    Raises:
        InputError: the first of these that does not hold.
    """
    get_task(sample.task).check(sample)
    for text in (sample.prompt, *sample.responses, sample.target or ""):
        check_text(text, sample.id)
    for ref in sample.images:
        if isinstance(ref, str) and not Path(ref.partition("#")[0]).is_file() and not Path(ref).is_file():
            raise InputError(f"no such image {ref}", remedy="paths are relative to the JSONL's folder")
