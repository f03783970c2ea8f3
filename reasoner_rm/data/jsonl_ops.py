"""From one JSONL of samples to another, row by row: the common part of mix, dedup, decontaminate and filter."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reasoner_rm.data.dataset_card import Entry, add_entry, entry_of
from reasoner_rm.data.io import json_object, sample_line
from reasoner_rm.errors import InputError
from reasoner_rm.schema import Sample
from reasoner_rm.serialization import sample_from_dict
from reasoner_rm.utils.files import atomic_write
from reasoner_rm.utils.locks import file_lock


def stream(file: Path) -> Iterator[tuple[int, Sample]]:
    """Each sample with its line, in constant memory; tasks and images are not checked.

    Raises:
        InputError: no such file, a malformed line: with file and line.
    """
    if not file.is_file():
        raise InputError("no such file", file=file, remedy="give a JSONL file of samples")
    with file.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                try:
                    yield number, sample_from_dict(json_object(line), file.parent)
                except InputError as error:
                    raise InputError(str(error), file=file, line=number) from None


@dataclass(frozen=True, slots=True)
class Written:
    """The number of kept samples, and the others by reason."""

    kept: int
    dropped: Mapping[str, int]


def write(
    out: Path,
    samples: Iterator[Sample | str],
    *,
    by: str,
    inputs: Sequence[Path],
    options: Mapping[str, Any],
    command: str = "",
    overwrite: bool = False,
) -> Written:
    """Write the samples, count the reasons, and add the file to its folder's dataset card.

    Args:
        samples: kept samples, and in place of each dropped one the reason.

    Raises:
        InputError: the output exists already, or nothing is kept.
    """
    if out.exists() and not overwrite:
        raise InputError("exists already", file=out, remedy="give another --out, or --overwrite")
    tasks: Counter[str] = Counter()
    dropped: Counter[str] = Counter()
    with file_lock(out), atomic_write(out) as lines:
        for sample in samples:
            if isinstance(sample, str):
                dropped[sample] += 1
                continue
            lines.write(sample_line(sample, out.parent))
            tasks[sample.task] += 1
        if not tasks:
            raise InputError("nothing is left", file=out, remedy=f"dropped: {dict(dropped) or 'the input is empty'}")
    kept = sum(tasks.values())
    sources = tuple(dict(entry_of(file) or {"recipe": "unknown", "source": str(file)}) for file in inputs)
    counts = {"samples": {out.stem: kept}, "tasks": dict(tasks), "left_out": dict(dropped)}
    seed = int(options.get("seed", 0))
    add_entry(
        out.parent, out.name, Entry(by, options=options, seed=seed, command=command, counts=counts, sources=sources)
    )
    return Written(kept, dropped)
