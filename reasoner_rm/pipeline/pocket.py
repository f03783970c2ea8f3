"""`reasoner-rm pocket`: the whole loop on a small world, from nothing to a judge, on a laptop."""

from __future__ import annotations

import difflib
import os
import time
from collections.abc import Iterable
from pathlib import Path

from reasoner_rm.config import Config, load_config
from reasoner_rm.errors import InputError
from reasoner_rm.pipeline.demos import WORLDS, DemoTask
from reasoner_rm.training.run_dir import STAGES, RunDir


def pocket(world: str, task: str, out: Path | None, seed: int, quick: bool, overrides: tuple[str, ...] = ()) -> Path:
    """Run every stage on a task of a world and leave a run directory; its path.

    Raises:
        InputError: an unknown world or task, or a run directory that exists already.
    """
    course = course_of(world, task)
    one_thread()
    from reasoner_rm.pipeline.stages import Pipeline

    began = time.perf_counter()
    path = out or _numbered(Path("runs"), f"pocket-{world}-{task}")
    config = config_of(course, path, seed, (*(course.quick_overrides if quick else ()), *overrides))
    run = RunDir.create(path, config.yaml())
    course.make(path / "data", course.quick if quick else course.plan, seed)
    pipeline = Pipeline(config, run)
    for stage in STAGES:
        pipeline.train(stage)
        pipeline.measure(stage, blind=stage == STAGES[-1])
    seconds = round(time.perf_counter() - began, 1)
    pipeline.summarise(seconds=seconds, world=world, quick=quick, chance=course.chance)
    pipeline.report()
    return path


def course_of(world: str, task: str) -> DemoTask:
    """The course of a world's task.

    Raises:
        InputError: there is none.
    """
    courses = WORLDS.get(world)
    if courses is None:
        raise InputError(f"unknown world {world!r}", remedy=_nearest(world, WORLDS))
    if task not in courses:
        raise InputError(f"world {world!r} has no task {task!r}", remedy=_nearest(task, courses))
    return courses[task]


def config_of(course: DemoTask, path: Path, seed: int, overrides: tuple[str, ...] = ()) -> Config:
    """The course's recipe for a run in ``path``, whose data are made there."""
    config = load_config(course.recipe, (f"run.out={path}", f"run.seed={seed}", *overrides))
    files = {k: path / "data" / v.name for k, v in config.data if isinstance(v, Path)}
    return config.model_copy(update={"data": config.data.model_copy(update=files)})


def one_thread() -> None:
    """A tiny model's operations are too small to share: on two busy cores two threads took 3.5 times as long."""
    if "OMP_NUM_THREADS" not in os.environ:
        import torch

        torch.set_num_threads(1)


def _nearest(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, known, 1)
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"


def _numbered(folder: Path, name: str) -> Path:
    """The first free `folder/name-N`."""
    number = 1
    while (folder / f"{name}-{number}").exists():
        number += 1
    return folder / f"{name}-{number}"
