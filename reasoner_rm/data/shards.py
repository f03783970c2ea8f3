"""Many small image files as a few parquet shards, for shared file systems and object stores."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from reasoner_rm.data.dataset_card import Entry, add_entry, entry_of
from reasoner_rm.data.images import check_header, read_bytes
from reasoner_rm.data.io import sample_line
from reasoner_rm.data.jsonl_ops import stream
from reasoner_rm.data.part_files import Parts, remove_stale
from reasoner_rm.errors import InputError
from reasoner_rm.schema import MediaRef, Sample
from reasoner_rm.tasks.frames import frames
from reasoner_rm.utils.files import atomic_path
from reasoner_rm.utils.locks import folder_lock

PER_SHARD = 2000
"""Samples per shard: the most that a killed run loses."""
GROUP = 64
"""Images per row group, which is read whole to open one of them."""


@dataclass(frozen=True, slots=True)
class Packed:
    """The numbers of samples, images and shards. An image of several samples of a shard is stored once."""

    samples: int
    images: int
    shards: int


def pack(file: Path, out: Path, *, per_shard: int = PER_SHARD, command: str = "", overwrite: bool = False) -> Packed:
    """Copy a JSONL of samples into a folder, its images into `NAME-00000.parquet` and so on beside it.

    The bytes of the images are not changed. The same call resumes a run that was killed.

    Raises:
        InputError: no such file, an image that cannot be read, an output that exists already.
    """
    if not file.is_file():
        raise InputError("no such file", file=file, remedy="give a JSONL file of samples")
    if per_shard < 1:
        raise InputError(f"per_shard is {per_shard}", remedy="give a number from 1")
    with folder_lock(out):
        return _pack(file, out, per_shard, command, overwrite)


def _pack(file: Path, out: Path, per_shard: int, command: str, overwrite: bool) -> Packed:
    packed, work = out / file.name, out / f".{file.stem}.packing"
    remove_stale(work)
    if packed.exists() and not overwrite and not work.is_dir():
        raise InputError("exists already", file=packed, remedy="give another --out, or --overwrite")
    about = file.stat()
    plan = {"file": str(file.resolve()), "size": about.st_size, "changed": about.st_mtime_ns, "per_shard": per_shard}
    parts = Parts(work, plan, lambda manifest: manifest["samples"] + manifest["images"], anew=overwrite)
    done = sum(manifest["samples"] for manifest in parts.manifests)
    try:
        _convert(file, out, parts, done, per_shard)
    except InputError:
        if not parts.manifests:  # there is nothing to resume, and the data will be corrected first
            parts.remove()
        raise
    if not parts.manifests:
        parts.remove()
        raise InputError("no sample in it", file=file)
    parts.join(file.name, packed)
    found = Packed(
        sum(manifest["samples"] for manifest in parts.manifests),
        sum(manifest["images"] for manifest in parts.manifests),
        len(parts.manifests),
    )
    counts = dataclasses.asdict(found) | {"samples": {file.stem: found.samples}}
    options, made_from = {"per_shard": per_shard}, entry_of(file)
    sources = () if made_from is None else (made_from,)
    add_entry(out, file.name, Entry("pack", command=command, options=options, counts=counts, sources=sources))
    parts.remove()
    return found


def _convert(file: Path, out: Path, parts: Parts, done: int, per_shard: int) -> None:
    """The samples that remain, one part per shard."""
    samples = itertools.islice((sample for _, sample in stream(file)), done, None)
    with tqdm(initial=done, unit="sample", desc="pack", delay=2, disable=None) as bar:
        while batch := list(itertools.islice(samples, per_shard)):
            shard = out / f"{file.stem}-{len(parts.manifests):05d}.parquet"
            with parts.part() as part:
                images, moved = _write(shard, batch)
                part.file(file.name).writelines(sample_line(sample, out) for sample in moved)
                part.manifest |= {"samples": len(batch), "images": images}
            bar.update(len(batch))


def _write(shard: Path, samples: Sequence[Sample]) -> tuple[int, list[Sample]]:
    """Write the images of a part; returns their number and the samples with references into the shard."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([("image", pa.binary()), ("source", pa.string())])
    places: dict[str, str] = {}
    with (
        atomic_path(shard) as beside,
        pq.ParquetWriter(beside, schema, compression="none") as writer,  # images are compressed already
    ):
        for group in _grouped(_distinct(samples)):
            held = [_bytes(ref, sample) for ref, sample in group]
            rows = {"image": held, "source": [Path(ref.partition("#")[0]).name for ref, _ in group]}
            writer.write_table(pa.table(rows, schema=schema))
            places |= {ref: f"{shard}#{len(places) + i}/image" for i, (ref, _) in enumerate(group)}

    def moved(ref: MediaRef) -> MediaRef:
        return places[ref] if isinstance(ref, str) else ref

    return len(places), [
        dataclasses.replace(
            sample,
            images=tuple(map(moved, sample.images)),
            videos=tuple(tuple(map(moved, frames(video))) for video in sample.videos),
        )
        for sample in samples
    ]


def _distinct(samples: Iterable[Sample]) -> Iterable[tuple[str, Sample]]:
    """Every reference once, with the first sample that has it."""
    found: dict[str, Sample] = {}
    for sample in samples:
        for ref in (*sample.images, *(frame for video in sample.videos for frame in frames(video))):
            if isinstance(ref, str):
                found.setdefault(ref, sample)
    return found.items()


def _grouped(items: Iterable[Any]) -> Iterable[list[Any]]:
    rest = iter(items)
    while group := list(itertools.islice(rest, GROUP)):
        yield group


def _bytes(ref: str, sample: Sample) -> bytes:
    """The image's bytes, unchanged. A file that is no image is refused: a malicious row could name any file."""
    try:
        data = read_bytes(ref)
        check_header(data, ref)
    except InputError as error:
        raise InputError(f"sample {sample.id!r}: {error}") from None
    return data
