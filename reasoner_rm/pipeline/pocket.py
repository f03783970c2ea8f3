"""`reasoner-rm pocket`: all stages on a synthetic world, from generated data to an evaluated judge, on a CPU."""

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
from reasoner_rm.utils.locks import folder_lock


def pocket(world: str, task: str, out: Path | None, seed: int, quick: bool, overrides: tuple[str, ...] = ()) -> Path:
    """Run every stage on a task of a world and return the run directory.

    Raises:
        InputError: unknown world or task, or the run directory exists.
    """
    demo = get_demo(world, task)
    use_one_thread()
    from reasoner_rm.pipeline.stages import Pipeline

    start = time.perf_counter()
    path = out or _numbered(Path("runs"), f"pocket-{world}-{task}")
    config = demo_config(demo, path, seed, (*(demo.quick_overrides if quick else ()), *overrides))
    with folder_lock(path):
        run = RunDir.create(path, config.yaml())
        demo.build(path / "data", demo.quick_sizes if quick else demo.sizes, seed)
        pipeline = Pipeline(config, run)
        for stage in STAGES:
            pipeline.train(stage)
            pipeline.evaluate_stage(stage, blind=stage == STAGES[-1])
        seconds = round(time.perf_counter() - start, 1)
        pipeline.update_summary(seconds=seconds, world=world, quick=quick, chance=demo.chance)
        pipeline.report()
    return path


def get_demo(world: str, task: str) -> DemoTask:
    """The demo of a world's task.

    Raises:
        InputError: unknown world or task.
    """
    tasks = WORLDS.get(world)
    if tasks is None:
        raise InputError(f"unknown world {world!r}", remedy=_suggestion(world, WORLDS))
    if task not in tasks:
        raise InputError(f"world {world!r} has no task {task!r}", remedy=_suggestion(task, tasks))
    return tasks[task]


def demo_config(demo: DemoTask, path: Path, seed: int, overrides: tuple[str, ...] = ()) -> Config:
    """The demo's configuration for a run in ``path``, with the data files below it."""
    config = load_config(demo.recipe, (f"run.out={path}", f"run.seed={seed}", *overrides))
    files = {k: path / "data" / v.name for k, v in config.data if isinstance(v, Path)}
    return config.model_copy(update={"data": config.data.model_copy(update=files)})


def use_one_thread() -> None:
    """Use one torch thread unless OMP_NUM_THREADS is set: with a tiny model two threads took 3.5 times as long."""
    if "OMP_NUM_THREADS" not in os.environ:
        import torch

        torch.set_num_threads(1)


def _suggestion(name: str, names: Iterable[str]) -> str:
    matches = difflib.get_close_matches(name, names, 1)
    return f"did you mean {matches[0]!r}?" if matches else f"known: {', '.join(names)}"


def _numbered(folder: Path, name: str) -> Path:
    """The first free `folder/name-N`."""
    number = 1
    while (folder / f"{name}-{number}").exists():
        number += 1
    return folder / f"{name}-{number}"
