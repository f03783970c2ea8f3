"""What a benchmark is: the published files, how a row becomes items, and the protocols under which it is scored."""

from __future__ import annotations

import dataclasses
import difflib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from reasoner_rm.data.io import check_sample
from reasoner_rm.data.media import Media
from reasoner_rm.data.recipe import PARQUET, Recipe
from reasoner_rm.data.row import DatasetRow, SkipRow
from reasoner_rm.data.sources import Source
from reasoner_rm.errors import InputError
from reasoner_rm.evaluation.protocol import Protocol
from reasoner_rm.schema import PAIRWISE_TASKS, Sample


@dataclass(frozen=True, slots=True)
class Grading:
    """How a second model grades answers that no rule can.

    ask: an item and the answer to it, as a sample for the grader; ``meta.prompt`` names its template.
    both: whether it is asked in both orders.
    """

    ask: Callable[[Sample, str], Sample]
    both: bool = False


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A benchmark as it was published.

    read: the items of a row, candidates in the file's own order; ``meta.by`` names the kinds that each belongs to.
    columns: what every row must have.
    rows: the row counts of the known revisions, by split; what has another count is another revision.
    protocols: the first is the one that a bare `eval NAME` uses.
    tables: patterns of the files in a downloaded folder, `{split}` standing for the split.
    layouts: the columns of each layout, where there are several.
    grading: how an item's answer is graded, for those that no rule can.
    baselines: answers that cost nothing, by name; pairs have their own.
    """

    name: str
    title: str
    read: Callable[[DatasetRow], Iterable[Sample]]
    columns: tuple[str, ...]
    protocols: tuple[Protocol, ...]
    hub: str = ""
    config: str | None = None
    licence: str = ""
    tables: Sequence[str] = PARQUET
    splits: tuple[str, ...] = ("test",)
    rows: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    explode: Callable[[Path], Iterable[tuple[int, Any]]] | None = None
    layouts: tuple[tuple[str, ...], ...] = ()
    grading: Callable[[Sample], Grading | None] | None = None
    baselines: Mapping[str, Callable[[Sample], str]] = field(default_factory=dict)
    note: str = ""

    def protocol(self, name: str | None = None) -> Protocol:
        """The protocol of that name, or the benchmark's first.

        Raises:
            InputError: an unknown name.
        """
        if name is None:
            return self.protocols[0]
        for protocol in self.protocols:
            if protocol.name == name:
                return protocol
        known = [p.name for p in self.protocols]
        near = difflib.get_close_matches(name, known, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
        raise InputError(f"{self.name} has no protocol {name!r}", remedy=hint)

    def load(
        self,
        data: str | Path,
        split: str | None = None,
        *,
        images: str | Path | None = None,
        keep: str | Path | None = None,
        any_revision: bool = False,
        remote: bool = False,
        media: bool = True,
    ) -> list[Sample]:
        """The items of a split, in file order.

        Args:
            data: the benchmark's file or folder as published, or its hub id.
            images: where relative image paths are taken from; None: beside the data.
            keep: where images go that have no file of their own.
            any_revision: take a file with another number of rows, too.
            remote: fetch images that are given as addresses.
            media: whether images must be there; a rescore or a comparison of texts needs none.

        Raises:
            InputError: no such data, another revision, a bad row, a missing image (with the item's name).
        """
        split = split or self.splits[0]
        recipe = Recipe(self.name, self.title, lambda row, _: (), tables=self.tables, explode=self.explode)
        source = Source(recipe, str(data), split, self.config)
        resolved = Media(Path(images) if images else source.root, Path(keep or ".evaluation-images"), remote)
        samples: list[Sample] = []
        names: Counter[str] = Counter()
        left_out, number = 0, 0
        for number, (file, (line, row)) in enumerate(tqdm(source, self.name, unit="row", delay=2, disable=None), 1):
            try:
                if isinstance(row, InputError):
                    raise row
                self._check_columns(row)
                record = DatasetRow(row, f"{Path(file).stem}-{number}", number - 1, resolved, source=self.name)
                for sample in self.read(record):
                    sample = _numbered(sample, names)
                    if media:
                        _check(sample)
                    samples.append(sample)
            except SkipRow:
                left_out += 1
            except InputError as error:
                raise InputError(str(error), file=file, line=line) from None
        self._check_rows(number, split, data, any_revision)
        if not samples:
            raise InputError(f"no items of {self.name} in it", file=str(data), remedy="give the published file")
        return samples

    def _check_columns(self, row: Mapping[str, Any]) -> None:
        layouts = self.layouts or (self.columns,)
        if not any(set(layout) <= row.keys() for layout in layouts):
            missing = sorted(set(layouts[0]) - row.keys())
            what = f"another revision of {self.name}: no column {', '.join(missing)}"
            due = " or ".join(", ".join(layout) for layout in layouts)
            raise InputError(what, remedy=f"expected the columns {due}")

    def _check_rows(self, n: int, split: str, data: str | Path, any_revision: bool) -> None:
        known = self.rows.get(split)
        if known and n not in known and not any_revision:
            due = " or ".join(f"{count:,}" for count in known)
            raise InputError(
                f"another revision of {self.name}: {n:,} rows in split {split!r} where {due} are expected",
                file=str(data),
                remedy="give the published file, or --any-revision to evaluate this one under its own count",
            )


def _check(sample: Sample) -> None:
    """As `check_sample`, with the item's name in every error."""
    try:
        check_sample(sample)
    except InputError as error:
        named = "" if repr(sample.id) in str(error) else f"item {sample.id!r}: "
        raise InputError(f"{named}{error}") from None


def _numbered(sample: Sample, names: Counter[str]) -> Sample:
    """A repeated id gets a number; the items stay in one group."""
    names[sample.id] += 1
    count = names[sample.id]
    return sample if count == 1 else dataclasses.replace(sample, id=f"{sample.id}~{count}")


def compared(
    row: DatasetRow,
    name: str,
    task: str,
    prompt: str,
    candidates: Sequence[Any],
    p_first: float,
    *,
    by: Mapping[str, str] | None = None,
    group: str = "",
    shared: Sequence[Any] = (),
    images: Sequence[Any] = (),
    videos: Sequence[Any] = (),
    gold: Mapping[str, Any] | None = None,
    meta: Mapping[str, Any] | None = None,
) -> Sample:
    """A comparison in the file's own order.

    Args:
        p_first: how sure the gold is that the first candidate is better, 0..1; 0.5 is a tie.
        by: facets and kinds, for figures by group.
        group: items that are resampled together.
        shared: what the candidates' field begins with (the source image of an edit).
        images, videos: what both candidates belong to.
    """
    if len(candidates) != 2:
        raise InputError(f"{len(candidates)} candidates where 2 are due")
    media: dict[str, Any] = {"images": tuple(images), "videos": tuple(videos)}
    media[PAIRWISE_TASKS[task].media] = (*shared, *candidates)
    return Sample(
        id=name, task=task, prompt=prompt, gold={"p_first": p_first, **(gold or {})}, group_id=group or name,
        source=row.source, meta={**(meta or {}), "by": dict(by or {})}, **media,
    )  # fmt: skip


def tables(name: str) -> tuple[str, ...]:
    """Where a file of that name may be in a downloaded folder."""
    return tuple(os.path.join(folder, name) for folder in ("", "data", "**"))
