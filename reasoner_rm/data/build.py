"""From a dataset's rows to JSONL: streamed in constant memory, resumable; every skipped row is counted and named.

`OUT/<split>.jsonl` (and `heldout.jsonl`) appear when they are complete. `<split>.skipped.txt` names every bad row
that was skipped, and the folder's dataset card lists the sources. The same command resumes a build that was killed.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from reasoner_rm.data.dataset_card import Entry, add_entry
from reasoner_rm.data.images import open_image
from reasoner_rm.data.io import check_sample, sample_line
from reasoner_rm.data.media import Media
from reasoner_rm.data.pairing import FIXED_ORDER
from reasoner_rm.data.part_files import Part, Parts, remove_stale
from reasoner_rm.data.recipe import Recipe, asdict
from reasoner_rm.data.row import DatasetRow, SkipRow
from reasoner_rm.data.sources import Source
from reasoner_rm.data.tables import Placed
from reasoner_rm.errors import InputError
from reasoner_rm.schema import Sample
from reasoner_rm.tasks.frames import frames
from reasoner_rm.utils.locks import folder_lock
from reasoner_rm.utils.seeding import stable_seed

SKIPPED = "skipped.txt"
"""The list of a split's bad rows is `SPLIT.skipped.txt`."""
PART = 20_000
"""Source rows per part: the most that a killed build loses."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Options of every build.

    Attributes:
        split: the dataset's own split.
        config: the configuration of a hub dataset.
        seed: draws the order of candidates and who is held out.
        n: the number of rows after which to stop; None: all.
        heldout: the expected share of prompts in `heldout.jsonl`, 0 to below 1.
        skip_bad: leave bad rows out and count them, instead of stopping at the first.
        overwrite: replace an earlier build of the same name.
        shards: write the parts as separate files instead of one.
        images: where relative image paths are taken from; None: the data's own folder.
        remote: fetch images that are given as URLs.
        decode: open every image, so that a broken one is a bad row; slow, and `data validate` does it too.
        part: source rows in a part.
    """

    split: str = "train"
    config: str | None = None
    seed: int = 0
    n: int | None = None
    heldout: float = 0.0
    skip_bad: bool = False
    overwrite: bool = False
    shards: bool = False
    images: Path | None = None
    remote: bool = False
    decode: bool = False
    part: int = PART


@dataclass(slots=True)
class Counts:
    """Counts of the rows: ``rows`` = those with samples + bad + left out. ``fixed_order``: samples whose target fixes
    the order of the candidates (:func:`reasoner_rm.data.pairing.pair`)."""

    rows: int = 0
    bad: int = 0
    fixed_order: int = 0
    first_bad: str = ""
    samples: Counter[str] = field(default_factory=Counter)
    tasks: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)

    def add(self, manifest: Mapping[str, Any]) -> None:
        self.rows += manifest["rows"]
        self.bad += manifest["bad"]
        self.fixed_order += manifest.get("fixed_order", 0)
        self.first_bad = self.first_bad or manifest["first_bad"]
        for name in ("samples", "tasks", "left_out"):
            getattr(self, name).update(manifest[name])

    def manifest(self) -> dict[str, Any]:
        counters = {name: dict(getattr(self, name)) for name in ("samples", "tasks", "left_out")}
        fixed = {"fixed_order": self.fixed_order} if self.fixed_order else {}
        return {"rows": self.rows, "bad": self.bad, "first_bad": self.first_bad, **fixed, **counters}


@dataclass(frozen=True, slots=True)
class Built:
    """The progress and the counts of a build."""

    files: Mapping[str, tuple[Path, ...]]
    counts: Counts


def build(
    recipe: Recipe, data: str | Path, out: str | Path, settings: Settings | None = None, options: Any = None,
    command: str = "",
) -> Built:  # fmt: skip
    """Build one split of a dataset.

    Args:
        data: a file or folder in the dataset's own layout, or a hub id.
        options: the recipe's own, of type ``recipe.options``.
        command: the command line, for the dataset card.

    Raises:
        InputError: no such data, a bad row (unless skipped), nothing usable, an output that exists already or that
            another process makes.
    """
    settings = settings or Settings()
    options = recipe.options() if options is None else options
    out = Path(out)
    if not 0 <= settings.heldout < 1:
        remedy = "give a share of prompts from 0 to below 1, such as 0.1"
        raise InputError(f"heldout is {settings.heldout}", remedy=remedy)
    if settings.n is not None and settings.n < 1:
        raise InputError(f"n is {settings.n}", remedy="give a number of rows, from 1")
    source = Source(recipe, str(data), settings.split, settings.config)
    with folder_lock(out):
        return _build(recipe, source, out, settings, options, command)


def _build(
    recipe: Recipe, source: Source, out: Path, settings: Settings, options: Any, command: str
) -> Built:  # fmt: skip
    work = out / f".{settings.split}.building"
    remove_stale(work)
    refuse_overwriting(out, settings.split, work, settings.overwrite)
    parts = Parts(work, _plan(recipe, source, settings, options), Counts().add, anew=settings.overwrite)
    counts = Counts()
    for manifest in parts.manifests:
        counts.add(manifest)
    media = Media(settings.images or source.root, out / "images", settings.remote)
    try:
        _convert(recipe, options, settings, source, media, parts, counts, out)
    except InputError:
        if not parts.manifests:  # there is nothing to resume, and the data will be corrected first
            parts.remove()
        raise
    if not counts.samples:
        parts.remove()
        remedy = f"first: {counts.first_bad}" if counts.first_bad else f"left out: {dict(counts.left_out) or 'nothing'}"
        raise InputError("no usable row in it", file=source.data, remedy=remedy)
    if not counts.samples[settings.split]:
        parts.remove()
        raise InputError("every prompt was held out", file=source.data, remedy="hold out less; the set has few prompts")
    files = _finish(parts, out, settings)
    entry = Entry(
        recipe=recipe.name, title=recipe.title, source=source.data, hub=recipe.hub,
        licence=recipe.licence_of(options) if recipe.licence_of else recipe.licence,
        split=settings.split, seed=settings.seed, options=asdict(options), command=command, counts=counts.manifest(),
    )  # fmt: skip
    for name, made in files.items():
        add_entry(out, f"{name}.jsonl" if len(made) == 1 else f"{name}-*.jsonl", entry)
    parts.remove()
    return Built(files, counts)


def refuse_overwriting(out: Path, split: str, work: Path, overwrite: bool) -> None:
    """Refuse to replace a finished output. An unfinished build is resumed instead.

    Raises:
        InputError: naming the file.
    """
    there = sorted(path for path in (*out.glob(f"{split}.jsonl"), *out.glob(f"{split}-*-of-*.jsonl")))
    if there and not overwrite and not work.is_dir():
        raise InputError("exists already", file=there[0], remedy="give another --out, or --overwrite")


def _plan(recipe: Recipe, source: Source, settings: Settings, options: Any) -> dict[str, Any]:
    decides = ("split", "config", "seed", "n", "heldout", "images", "part")
    chosen = {name: str(getattr(settings, name)) for name in decides}
    return {"recipe": recipe.name, "data": source.fingerprint(), **chosen, "options": asdict(options)}


def _convert(
    recipe: Recipe, options: Any, settings: Settings, source: Source, media: Media, parts: Parts, total: Counts,
    out: Path,
) -> None:  # fmt: skip
    stream = itertools.islice(source, total.rows, settings.n)
    with tqdm(initial=total.rows, unit="row", desc=recipe.name, delay=2, disable=None) as bar:
        while first := list(itertools.islice(stream, 1)):
            counts, memory = Counts(), dict[str, Any]()
            with parts.part() as part:
                for file, placed in itertools.chain(first, itertools.islice(stream, settings.part - 1)):
                    number = total.rows + counts.rows
                    _row(recipe, options, settings, media, file, placed, number, memory, part, counts, out)
                    counts.rows += 1
                    bar.update()
                part.manifest.update(counts.manifest())
            total.add(counts.manifest())


def _row(
    recipe: Recipe, options: Any, settings: Settings, media: Media, file: str, placed: Placed, number: int,
    memory: dict[str, Any], part: Part, counts: Counts, out: Path,
) -> None:  # fmt: skip
    """One row's samples, all or none."""
    line, values = placed
    try:
        if isinstance(values, InputError):
            raise values
        name = f"{recipe.name}-{settings.split}-{number}"
        row = DatasetRow(values, name, number, media, settings.seed, recipe.name, memory)
        samples = list(recipe.convert(row, options))
        for sample in samples:
            check_sample(sample)
            if settings.decode:
                _open_all(sample)
        lines = [(_side(sample, settings), sample.task, sample_line(sample, out)) for sample in samples]
    except SkipRow as reason:
        counts.left_out[str(reason)] += 1
        return
    except InputError as error:
        bad = InputError(str(error), file=file, line=line)
        if not settings.skip_bad:
            raise bad from None
        counts.bad += 1
        counts.first_bad = counts.first_bad or str(bad)
        part.file(SKIPPED).write(f"{bad}\n")
        return
    counts.fixed_order += sum(FIXED_ORDER in sample.meta for sample in samples)
    for side, task, text in lines:
        part.file(f"{side}.jsonl").write(text)
        counts.samples[side] += 1
        counts.tasks[task] += 1
    if not lines:
        counts.left_out["nothing to ask"] += 1


def _open_all(sample: Sample) -> None:
    for ref in (*sample.images, *(frame for video in sample.videos for frame in frames(video))):
        open_image(ref)


def _side(sample: Sample, settings: Settings) -> str:
    """Whether a prompt is held out, by its hash alone, so that all rows of a prompt go to the same file."""
    if settings.heldout and stable_seed("heldout", settings.seed, sample.group_id) < settings.heldout * 2**63:
        return "heldout"
    return settings.split


def _finish(parts: Parts, out: Path, settings: Settings) -> dict[str, tuple[Path, ...]]:
    files: dict[str, tuple[Path, ...]] = {}
    for old in (*out.glob(f"{settings.split}-*-of-*.jsonl"), out / f"{settings.split}.{SKIPPED}"):
        old.unlink(missing_ok=True)
    for name in parts.names():
        if name == SKIPPED:
            parts.join(name, out / f"{settings.split}.{SKIPPED}")
        elif settings.shards:
            files[Path(name).stem] = tuple(parts.spread(name, out / name))
        else:
            parts.join(name, out / name)
            files[Path(name).stem] = (out / name,)
    return files
