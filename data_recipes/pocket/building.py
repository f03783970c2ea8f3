"""Drafts become samples: in memory for scripts, or as JSONL beside its images, the same bytes for the same seed."""

from __future__ import annotations

import difflib
import io
import multiprocessing
import os
import random
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from itertools import repeat
from pathlib import Path
from typing import get_args

from data_recipes.pocket import caption_errors, edits, localisation, preferences, questions, videos
from data_recipes.pocket.corruptions import CORRUPTIONS
from data_recipes.pocket.drafts import Draft, Maker, Setting, scene_texts
from data_recipes.pocket.drawing import Picture
from data_recipes.pocket.scenes import LEVELS, Split
from reasoner_rm.data.io import sample_line
from reasoner_rm.errors import InputError
from reasoner_rm.schema import MediaRef, Sample
from reasoner_rm.utils.files import atomic_write, storage_errors, write_all
from reasoner_rm.utils.locks import folder_lock

MAKERS: dict[str, Maker] = {
    "image_preference": preferences.images,
    "pointwise": preferences.scores,
    "qa": questions.answers,
    "caption_critic": caption_errors.paragraphs,
    "detection": localisation.detection,
    "grounding": localisation.grounding,
    "response_preference": questions.responses,
    "edit_preference": edits.results,
    "video_preference": videos.motions,
    "step_critique": questions.steps,
}
CHUNK = 250
"""Samples per task of a worker process."""
MANY = 4000
"""From this many samples on a build uses all cores; starting a worker takes as long as some hundred samples."""


def draft(task: str, index: int, seed: int, setting: Setting) -> Draft:
    """The sample of that number before it is drawn; it depends on these four arguments alone."""
    return MAKERS[task](random.Random(f"pocket/{task}/{setting.split}/{seed}/{index}"), setting)


def samples(task: str, n: int, seed: int, setting: Setting | None = None) -> Iterator[Sample]:
    """Samples with PIL images in memory, for scripts; what `build` writes, without the files.

    Raises:
        InputError: an unknown task or setting; videos, which a sample cannot hold in memory (see `draft`).
    """
    setting = check(task, n, setting or Setting())
    if task == "video_preference":
        raise InputError("videos are folders of frames", remedy="use build, or draft(...).clips for the frames")
    for i in range(n):
        made = draft(task, i, seed, setting)
        yield _sample(made, task, i, seed, setting, [picture.image(setting.side) for picture in made.pictures])


def build(
    out: Path,
    split: Split,
    task: str,
    n: int,
    seed: int,
    *,
    name: str | None = None,
    setting: Setting | None = None,
    workers: int | None = None,
) -> Path:
    """Write ``n`` samples of one task and split as `<name>.jsonl`, and their images under `images/<name>`.

    Both are written atomically. The bytes depend on the arguments, not on ``workers``.

    Args:
        name: `<split>-<task>` unless given.
        setting: all other options; ``split`` overrides its split.
        workers: processes; all cores from 4,000 samples on, unless given. A script that builds so many needs the
            usual `if __name__ == "__main__":`, as the workers read it again.

    Raises:
        InputError: an unknown task or setting.
    """
    setting = check(task, n, replace(setting or Setting(), split=split))
    name = name or f"{split}-{task}"
    file, pictures = Path(out) / f"{name}.jsonl", Path(out) / "images" / name
    with folder_lock(Path(out)):
        pictures.parent.mkdir(parents=True, exist_ok=True)
        starts = range(0, n, CHUNK)
        half = Path(tempfile.mkdtemp(dir=pictures.parent, prefix=f".{name}."))
        try:
            work = (
                repeat(task),
                starts,
                [min(s + CHUNK, n) for s in starts],
                repeat(seed),
                repeat(setting),
                repeat(half),
            )
            workers = min(workers or (_cores() if n >= MANY else 1), len(starts))
            if workers == 1:
                lines = [line for chunk in map(_write, *work, repeat(name)) for line in chunk]
            else:
                with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
                    lines = [line for chunk in pool.map(_write, *work, repeat(name)) for line in chunk]
            half.chmod(0o755)
            file.unlink(missing_ok=True)  # no rows are better than rows with another build's images
            shutil.rmtree(pictures, ignore_errors=True)
            half.rename(pictures)
        except BaseException:
            shutil.rmtree(half, ignore_errors=True)
            raise
        with atomic_write(file) as rows:
            rows.writelines(lines)
    return file


def check(task: str, n: int, setting: Setting) -> Setting:
    """Check that a setting can be built; returns it.

    Raises:
        InputError: the first option that is wrong.
    """
    if task not in MAKERS:
        near = difflib.get_close_matches(task, MAKERS, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(MAKERS)}"
        raise InputError(f"the pocket world has no task {task!r}", remedy=hint)
    known = {"split": get_args(Split), "levels": tuple(LEVELS), "corruptions": CORRUPTIONS}
    for what, values in known.items():
        value = getattr(setting, what)
        chosen = (value,) if isinstance(value, str) else value
        if not chosen or not set(chosen) <= set(values):
            raise InputError(f"{what} {value!r}", remedy=f"choose among {', '.join(map(str, values))}")
    ranges = {"n": (1, 10**7), "side": (28, 1024), "voters": (1, 1000), "noise": (0, 1)}
    for what, (low, high) in ranges.items():
        if not low <= (value := n if what == "n" else getattr(setting, what)) <= high:
            raise InputError(f"{what} is {value}", remedy=f"give a number from {low} to {high}")
    return setting


def _write(task: str, start: int, stop: int, seed: int, setting: Setting, folder: Path, name: str) -> list[str]:
    """Draw some samples into a folder; their lines of JSON, with references relative to the JSONL."""
    lines = []
    for i in range(start, stop):
        made = draft(task, i, seed, setting)
        images: list[MediaRef] = []
        for k, picture in enumerate(made.pictures):
            images.append(_save(picture, setting.side, folder, name, f"{i:06d}-{k}.png"))
        folders: list[MediaRef] = []
        for k, clip in enumerate(made.clips):
            (folder / f"{i:06d}-{k}").mkdir()
            for t, frame in enumerate(clip):
                _save(frame, setting.side, folder, name, f"{i:06d}-{k}/{t}.png")
            folders.append(f"images/{name}/{i:06d}-{k}")
        lines.append(sample_line(_sample(made, task, i, seed, setting, images, folders)))
    return lines


def _save(picture: Picture, side: int, folder: Path, name: str, file: str) -> str:
    # Unbuffered: half the time of Path.write_bytes.
    with storage_errors(folder / file), io.FileIO(folder / file, "x") as out:
        write_all(out, picture.png(side))
    return f"images/{name}/{file}"


def _sample(
    made: Draft,
    task: str,
    index: int,
    seed: int,
    setting: Setting,
    images: list[MediaRef],
    folders: list[MediaRef] | None = None,
) -> Sample:
    seen = [p.scene for p in made.pictures] + [clip[0].scene for clip in made.clips]
    return Sample(
        id=f"pocket-{task}-{setting.split}-{seed}-{index}",
        task=task,
        prompt=made.prompt,
        images=tuple(images),
        videos=tuple(folders or ()),
        responses=made.responses,
        target=made.target,
        gold=made.gold,
        group_id=f"scene-{zlib.crc32(made.root.key.encode()):08x}",
        source="pocket",
        meta={**made.meta, "difficulty": made.level, "scenes": scene_texts(seen)},
    )


def _cores() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
