"""Samples as JSONL. Errors of reading name file and line; writing is atomic."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from reasoner_rm.errors import InputError
from reasoner_rm.schema import Sample
from reasoner_rm.serialization import sample_from_dict, sample_to_dict
from reasoner_rm.tasks import get_task
from reasoner_rm.tasks.escape import check_text
from reasoner_rm.tasks.frames import frames
from reasoner_rm.utils.files import atomic_write
from reasoner_rm.utils.parse_files import parse_object


def load_samples(file: str | Path, *, check: bool = True) -> list[Sample]:
    """Read and check a JSONL file of samples. Image paths become relative to the current folder.

    Raises:
        InputError: a missing or empty file, a truncated or malformed line, an unknown field or task, gold that
            does not fit the task, a missing image: each with file and line.
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
                sample = sample_from_dict(json_object(line), path.parent)
                if check:
                    check_sample(sample)
            except InputError as error:
                raise InputError(str(error), file=path, line=number) from None
            if sample.id in seen:
                what = f"id {sample.id!r} is already on line {seen[sample.id]}"
                raise InputError(what, file=path, line=number, remedy="make ids unique")
            seen[sample.id] = number
            samples.append(sample)
    if not samples:
        raise InputError("no samples in it", file=path, remedy="an empty dataset cannot be used")
    return samples


def write_samples(file: str | Path, samples: Iterable[Sample]) -> int:
    """Write samples as JSONL, atomically; returns their number."""
    count = 0
    with atomic_write(file) as out:
        for sample in samples:
            out.write(sample_line(sample, Path(file).parent))
            count += 1
    return count


_encode = json.JSONEncoder(ensure_ascii=False).encode


def sample_line(sample: Sample, folder: Path | None = None) -> str:
    """A sample as a line of JSON; without a folder its references are not changed.

    Raises:
        InputError: a lone surrogate in a text, which UTF-8 cannot encode.
    """
    line = _encode(sample_to_dict(sample, folder)) + "\n"
    try:
        line.encode()
    except UnicodeEncodeError:
        what = f"sample {sample.id!r} holds a lone surrogate, half of a character"
        raise InputError(what, remedy="remove it from the data") from None
    return line


def json_object(line: bytes) -> dict[str, Any]:
    """The JSON object of one line.

    Raises:
        InputError: it is not UTF-8, cut off, malformed (NaN is no JSON), or no object.
    """
    try:
        return parse_object(line, nan=False)
    except ValueError as error:
        cut = "" if line.endswith(b"\n") else " (the line is cut off)"
        raise InputError(f"{error}{cut}", remedy="repair or remove the line") from None


def check_sample(sample: Sample) -> None:
    """Check that a sample fits its task, its text can be encoded and its images exist.

    Raises:
        InputError: the first check that fails.
    """
    get_task(sample.task).validate(sample)
    for text in (sample.prompt, *sample.responses, sample.target or ""):
        check_text(text, sample.id)
    check_text(_encode((sample.id, sample.group_id, sample.source, sample.gold, sample.meta)), sample.id)
    for ref in (*sample.images, *(frame for video in sample.videos for frame in frames(video))):
        if isinstance(ref, str) and not os.path.isfile(ref.partition("#")[0]) and not os.path.isfile(ref):
            raise InputError(
                f"no such image {ref}", remedy="paths are relative to the folder of the file that names them"
            )
