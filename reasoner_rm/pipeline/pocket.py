"""`reasoner-rm pocket`: the whole loop on a small world, from nothing to a judge, on a laptop."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from reasoner_rm.config import Config, load_config
from reasoner_rm.errors import InputError
from reasoner_rm.training.rundir import STAGES, RunDir

WORLDS = ("digits",)
RECIPE = Path(__file__).with_name("pocket.yaml")


@dataclass(frozen=True, slots=True)
class Plan:
    """How many samples each file gets. Demonstrations come from few scans, RL prompts from all 800: the cold start
    sees enough to speak and to look, and leaves reading to be learnt."""

    cold_start: int = 480
    cold_start_scans: int = 40
    train: int = 1600
    drawings: int = 4
    heldout: int = 300
    ood: int = 200


QUICK = Plan(cold_start=480, train=320, heldout=80, ood=40)
QUICK_OVERRIDES = (
    "sft.max_steps=110",
    "sift.sft.max_steps=10",
    "sift.sft.learning_rate=2e-4",
    "grpo.max_steps=12",
    "grpo.rollouts_every=4",
)


def pocket(world: str, out: Path | None, seed: int, quick: bool, overrides: tuple[str, ...] = ()) -> Path:
    """Run every stage on a world and leave a run directory; its path.

    Raises:
        InputError: an unknown world, or a run directory that exists already.
    """
    if world not in WORLDS:
        raise InputError(f"unknown world {world!r}", remedy=f"known: {', '.join(WORLDS)}")
    _one_thread()
    from reasoner_rm.pipeline.stages import Pipeline

    began = time.perf_counter()
    path = out or _numbered(Path("runs"), f"pocket-{world}")
    config = _config(path, seed, (*(QUICK_OVERRIDES if quick else ()), *overrides))
    run = RunDir.create(path, config.yaml())
    _make_data(path / "data", QUICK if quick else Plan(), seed)
    pipeline = Pipeline(config, run)
    for stage in STAGES:
        pipeline.train(stage)
        pipeline.measure(stage, blind=stage == STAGES[-1])
    pipeline._summarise(seconds=round(time.perf_counter() - began, 1), world=world, quick=quick, chance=0.5)
    pipeline.report()
    return path


def _config(path: Path, seed: int, overrides: tuple[str, ...]) -> Config:
    config = load_config(RECIPE, (f"run.out={path}", f"run.seed={seed}", *overrides))
    files = {k: path / "data" / v.name for k, v in config.data if isinstance(v, Path)}
    return config.model_copy(update={"data": config.data.model_copy(update=files)})


def _make_data(folder: Path, plan: Plan, seed: int) -> None:
    from data_recipes import digits

    task = "image_preference"
    few, many = {"limit": plan.cold_start_scans}, {"drawings": plan.drawings}
    digits.build(folder, "train", task, plan.cold_start, seed, name="cold_start", **few, **many)
    digits.build(folder, "train", task, plan.train, seed + 1, name="train", **many)
    digits.build(folder, "heldout", task, plan.heldout, seed, name="heldout")
    digits.build(folder, "ood", task, plan.ood, seed, name="ood")


def _numbered(folder: Path, name: str) -> Path:
    """The first free `folder/name-N`."""
    number = 1
    while (folder / f"{name}-{number}").exists():
        number += 1
    return folder / f"{name}-{number}"


def _one_thread() -> None:
    """A tiny model's operations are too small to share: on two busy cores two threads took 3.5 times as long."""
    if "OMP_NUM_THREADS" not in os.environ:
        import torch

        torch.set_num_threads(1)
