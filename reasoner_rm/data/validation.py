"""Validation of a set for training: every row and every image is checked, and findings are counted.

An *error* would stop or corrupt training (a broken image, gold that does not fit, a row over the length limit); a
*warning* needs a decision (position bias of the better candidate, duplicates, no licence).
"""

from __future__ import annotations

import itertools
import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from tqdm import tqdm

from reasoner_rm.data.dataset_card import entry_of, licences
from reasoner_rm.data.hashes import exact_hash
from reasoner_rm.data.images import open_image, read_bytes
from reasoner_rm.data.io import check_sample, json_object
from reasoner_rm.errors import InputError
from reasoner_rm.schema import PAIRWISE_TASKS, MediaRef, Sample
from reasoner_rm.serialization import sample_from_dict
from reasoner_rm.tasks.frames import frames

LEAK = 1e-4
"""The p-value of the better candidate's position below which a bias is reported."""
EXAMPLES = 20
BATCH = 64
SIDES = (96, 96)


class Lengths(Protocol):
    """Counts tokens for a model, such as `models.token_counter.TokenCounter`."""

    limit: int

    def image(self, image: Any) -> int: ...
    def text(self, sample: Sample) -> int: ...


Severity = Literal["error", "warning"]


@dataclass(slots=True)
class Finding:
    """One kind of fault: the number of rows with it, and the first of them."""

    severity: Severity
    count: int = 0
    examples: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Report:
    """The report of a set. ``values`` are numbers by name, for histograms; ``pictures`` thumbnails with captions."""

    file: Path
    rows: int = 0
    images: int = 0
    tasks: Counter[str] = field(default_factory=Counter)
    facts: dict[str, Any] = field(default_factory=dict)
    values: dict[str, Counter[float]] = field(default_factory=lambda: defaultdict(Counter))
    findings: dict[str, Finding] = field(default_factory=dict)
    pictures: list[tuple[str, bytes]] = field(default_factory=list)

    def note(self, kind: str, severity: Severity, text: str) -> None:
        finding = self.findings.setdefault(kind, Finding(severity))
        finding.count += 1
        if len(finding.examples) < EXAMPLES:
            finding.examples.append(text)

    @property
    def errors(self) -> int:
        return sum(f.count for f in self.findings.values() if f.severity == "error")


@dataclass(frozen=True, slots=True)
class InspectedRow:
    """One row: its sample, or its error."""

    line: int
    sample: Sample | None = None
    faults: tuple[tuple[str, str], ...] = ()
    sides: tuple[tuple[int, int], ...] = ()
    tokens: int | None = None
    image_tokens: int = 0
    key: str = ""
    picture: bytes = b""


def validate(
    file: Path,
    *,
    lengths: Lengths | None = None,
    max_tokens: int | None = None,
    workers: int | None = None,
    pictures: int = 12,
) -> Report:
    """Check every row of a JSONL of samples, in parallel.

    Args:
        lengths: counts tokens; None leaves lengths out.
        max_tokens: longer rows are errors; by default the limit of the model in ``lengths``.
        workers: threads that decode images (the decoders release the GIL); all cores unless given.
        pictures: how many sample pictures the report keeps.

    Raises:
        InputError: no such file, or an empty one.
    """
    if not file.is_file():
        raise InputError("no such file", file=file, remedy="give a JSONL file of samples")
    report, state = Report(file), _Totals()
    limit = max_tokens or (lengths.limit if lengths else None)
    workers = workers or _usable_cores()
    with file.open("rb") as lines, ThreadPoolExecutor(workers) as pool, tqdm(unit="row", delay=2, disable=None) as bar:
        numbered = ((n, line) for n, line in enumerate(lines, start=1) if line.strip())
        for batch in _inspect_batches(pool, numbered, file, lengths, pictures):
            for row in batch:
                _add(report, state, row, limit)
                bar.update()
    if not report.rows:
        raise InputError("no samples in it", file=file, remedy="an empty dataset cannot be used")
    _check_totals(report, state)
    return report


def _usable_cores() -> int:
    """The cores that this process may use; all cores where the system cannot tell."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _inspect_batches(
    pool: ThreadPoolExecutor, numbered: Iterator[tuple[int, bytes]], file: Path, lengths: Lengths | None, pictures: int
) -> Iterator[list[InspectedRow]]:
    """Rows in batches, in order, with a few of them being processed at any time."""
    batches = iter(lambda: list(itertools.islice(numbered, BATCH)), [])
    waiting = []
    submitted = 0
    for batch in batches:
        with_picture = max(0, pictures - submitted)
        submitted += len(batch)
        waiting.append(pool.submit(_inspect_batch, batch, file, lengths, with_picture))
        if len(waiting) > 8:
            yield waiting.pop(0).result()
    for future in waiting:
        yield future.result()


def _inspect_batch(
    batch: Sequence[tuple[int, bytes]], file: Path, lengths: Lengths | None, with_picture: int
) -> list[InspectedRow]:
    """The rows of a batch; the first ``with_picture`` of them keep a sample picture."""
    return [_inspect(n, line, file, lengths, i < with_picture) for i, (n, line) in enumerate(batch)]


def _inspect(number: int, line: bytes, file: Path, lengths: Lengths | None, picture: bool) -> InspectedRow:
    try:
        sample = sample_from_dict(json_object(line), file.parent)
    except InputError as error:
        return InspectedRow(number, faults=(("unreadable row", str(error)),))
    faults: list[tuple[str, str]] = []
    try:
        check_sample(sample)
    except InputError as error:
        faults.append(("row does not fit its task", str(error)))
    sides: list[tuple[int, int]] = []
    key, tokens, image_tokens, small = (
        exact_hash(repr((sample.task, sample.prompt, sample.responses)).encode()),
        None,
        0,
        b"",
    )
    hashes = []
    for ref in map(str, _images(sample, faults)):
        try:
            data = read_bytes(ref)
            image = open_image(data, ref)
        except InputError as error:
            faults.append(("broken image", str(error)))
            continue
        hashes.append(exact_hash(data))
        sides.append(image.size)
        if picture and not small:
            small = _thumbnail(image)
        if lengths is not None:
            try:
                image_tokens += lengths.image(image)
            except InputError as error:
                faults.append(("image tokens", f"{ref}: {error}"))
    if lengths is not None and not faults:
        try:
            tokens = lengths.text(sample) - len(sides) + image_tokens
        except InputError as error:
            faults.append(("prompt cannot be rendered", str(error)))
    key = exact_hash((key + "".join(sorted(hashes))).encode())
    return InspectedRow(number, sample, tuple(faults), tuple(sides), tokens, image_tokens, key, small)


def _images(sample: Sample, faults: list[tuple[str, str]]) -> list[MediaRef]:
    found = list(sample.images)
    for video in sample.videos:
        try:
            found += frames(video)
        except InputError as error:
            if not faults:
                faults.append(("broken video", str(error)))
    return found


class _Totals:
    """The state over all rows: hashes, not the rows themselves."""

    def __init__(self) -> None:
        self.ids: dict[int, int] = {}
        self.keys: dict[str, int] = {}
        self.groups: set[int] = set()
        self.first: Counter[str] = Counter()


def _add(report: Report, totals: _Totals, row: InspectedRow, limit: int | None) -> None:
    where = f"{report.file}:{row.line}"
    report.rows += 1
    report.images += len(row.sides)
    for kind, text in row.faults:
        report.note(kind, "error", f"{where}: {text}")
    sample = row.sample
    if sample is None:
        return
    report.tasks[sample.task] += 1
    before = totals.ids.setdefault(hash(sample.id), row.line)
    if before != row.line:
        report.note("repeated id", "error", f"{where}: id {sample.id!r} is already on line {before}")
    before = totals.keys.setdefault(row.key, row.line)
    if before != row.line and not row.faults:
        report.note("duplicate", "warning", f"{where}: the same as line {before}")
    totals.groups.add(hash(sample.group_id))
    if limit is not None and row.tokens is not None and row.tokens > limit:
        report.note("too long", "error", f"{where}: {row.tokens} tokens, the limit is {limit}")
    _measure(report, totals, sample, row)
    if row.picture:
        report.pictures.append((f"line {row.line}: {sample.prompt[:120]}", row.picture))


def _measure(report: Report, totals: _Totals, sample: Sample, row: InspectedRow) -> None:
    values = report.values
    for width, height in row.sides:
        values["image width, pixels"][width] += 1
        values["image height, pixels"][height] += 1
    values["prompt, characters"][len(sample.prompt)] += 1
    if row.tokens is not None:
        values["row, tokens"][row.tokens] += 1
        values["images of a row, tokens"][row.image_tokens] += 1
    if sample.task in PAIRWISE_TASKS:
        p = sample.gold.get("p_first")
        if isinstance(p, (int, float)) and 0 <= p <= 1:
            values["p_first"][round(p, 2)] += 1
            totals.first["first" if p > 0.5 else "second" if p < 0.5 else "tie"] += 1
    elif isinstance(score := sample.gold.get("score"), (int, float)):
        values["score"][round(float(score), 2)] += 1


def _check_totals(report: Report, totals: _Totals) -> None:
    """Findings that need all rows."""
    from scipy.stats import binomtest

    first, second = totals.first["first"], totals.first["second"]
    report.facts["groups"] = len(totals.groups)
    if first + second:
        chance = binomtest(first, first + second).pvalue
        report.facts["the better candidate is first"] = f"{first / (first + second):.1%} of {first + second}"
        report.facts["ties"] = totals.first["tie"]
        if chance < LEAK:
            what = f"the better candidate is first in {first} of {first + second} rows (chance: {chance:.1g})"
            report.note("position leak", "warning", f"{what}; build with a recipe, which draws the order")
    entry = entry_of(report.file)
    if entry is None or "" in licences(entry):
        what = "no licence on the dataset's card" if entry else "no dataset card (dataset.json) beside the file"
        report.note("licence missing", "warning", what)
    else:
        report.facts["licences"] = ", ".join(licences(entry))


def _thumbnail(image: Any) -> bytes:
    import io

    small = image.copy()
    small.thumbnail(SIDES)
    out = io.BytesIO()
    small.save(out, "WEBP", quality=80)
    return out.getvalue()
