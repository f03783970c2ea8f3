"""Every recipe of configs/ loads, resolves, and trains two steps with a tiny model in place of the big one."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import checkpoints
import pytest
from PIL import Image
from transformers import AutoConfig

from reasoner_rm.config import Config, load_config
from reasoner_rm.data.io import write_samples
from reasoner_rm.pipeline.dry_run import GB, memory_of
from reasoner_rm.pipeline.stages import Pipeline
from reasoner_rm.rewards import parse_spec
from reasoner_rm.schema import Sample
from reasoner_rm.training.run_dir import RunDir
from reasoner_rm.training.zero_memory import Sharding, read_sharding

ROOT = Path(__file__).parents[2]
CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))
BOX = {"boxes": [{"bbox_2d": [4, 4, 40, 40], "label": "cube"}]}
GOLD = {
    "image_preference": {"p_first": 1.0},
    "response_preference": {"p_first": 1.0},
    "caption_critic": {"original": "red cube", "changed": "blue cube", "type": "color"},
    "qa": {"answer": "4", "kind": "math"},
    "detection": BOX,
    "grounding": BOX,
}


def samples(task: str, folder: Path) -> list[Sample]:
    shown = 2 if task == "image_preference" else 1
    paths = [str(folder / f"{i}.png") for i in range(shown)]
    for i, path in enumerate(paths):
        Image.new("RGB", (56, 56), (90 * i, 120, 200)).save(path)
    return [
        Sample(
            str(i), task, "a blue cube on a table", tuple(paths), gold=GOLD[task], target="<think>a</think><answer>b",
            responses=("a cube", "a ball") if task == "response_preference" else (),
        )
        for i in range(4)
    ]  # fmt: skip


def shrunk(file: Path, tiny: Path, out: Path) -> Config:
    """The recipe with a tiny model, short completions and the samples of ``out``; all else as it stands."""
    config = load_config(file)
    overrides = [f"run.out={out / 'run'}", f"model.path={tiny}", "model.dtype=float32", "model.max_pixels=3136"]
    overrides += ["grpo.prompts_per_device=2", "grpo.gradient_accumulation_steps=1", "grpo.max_steps=2"]
    short = {"max_completion_length": 6, "num_generations": 2}
    overrides += [f"grpo.{name}={value}" for name, value in short.items()]
    if config.grpo.length_schedule:
        stages = [short | {"steps": 1}, short | {"num_generations": 3, "steps": 1}]
        overrides.append(f"grpo.length_schedule={json.dumps(stages)}")
    if config.listener.path:
        overrides += [f"listener.path={tiny}", "listener.dtype=float32", "listener.endpoint=null"]
    for name in ("cold_start", "train", "heldout"):
        if getattr(config.data, name) is not None:
            overrides.append(f"data.{name}={out / 'samples.jsonl'}")
    if config.data.cold_start is not None:
        overrides += ["sft.max_steps=2", "sft.batch_size=2", "sft.gradient_accumulation_steps=1"]
    return load_config(file, overrides)


ESTIMATE = re.compile(
    r"^# Estimate: (\d+) of 80 GB a GPU for grpo on (\d+) GPUs? \((alone|zero3|zero3_offload)\), "
    r"prompts of (\d+) tokens, (\d+) of them images\.$", re.M,
)  # fmt: skip
CARD_GB, FITS_GB = 80, 72
"""A GPU, and the most of it that an estimate may take: CUDA, NCCL and fragmentation take some more."""


def published(path: str) -> Any:
    """The configuration of a model of the hub, which is not at hand."""
    name = path.removeprefix("Qwen/").removesuffix("-Instruct").lower()
    return AutoConfig.for_model(**checkpoints.published(name))


@pytest.mark.parametrize("file", CONFIGS, ids=lambda file: file.stem)
def test_a_recipe_states_what_it_needs(file: Path) -> None:
    text = file.read_text()
    stated = ESTIMATE.search(text)
    assert stated is not None, "no line '# Estimate: …'"
    gigabytes, gpus, prompt, images = (int(stated[i]) for i in (1, 2, 4, 5))
    launched = re.search(rf"scripts/launch.sh (\d+) (\w+) (?:grpo|\$stage) configs/{file.name}", text)
    assert (launched[1], launched[2]) == (stated[2], stated[3]) if launched else stated[3] == "alone"
    memory = memory_of(
        load_config(file), "grpo", prompt, 4 * images, sharding=sharding_of(stated[3], gpus), card_gb=CARD_GB,
        architecture=published,
    )  # fmt: skip
    assert memory.total / GB <= FITS_GB, memory.as_json()
    assert round(memory.total / GB) == gigabytes, memory.as_json()


def sharding_of(kind: str, gpus: int) -> Sharding:
    """What `scripts/launch.sh` starts."""
    return read_sharding(None if kind == "alone" else ROOT / "scripts" / "deepspeed" / f"{kind}.json", gpus)


def test_there_is_a_recipe_for_each_system() -> None:
    names = " ".join(file.stem for file in CONFIGS)
    preference = ("listener-hpdv2", "listener-imagereward", "unifiedreward-think", "r1-reward")
    sight = ("vicrit", "vision-r1-detection", "vision-r1-detection-progressive", "vlm-r1-rec", "vlm-r1-ovd")
    for system in (*preference, *sight, "vision-r1-reasoning"):
        assert system in names


@pytest.mark.slow
@pytest.mark.parametrize("file", CONFIGS, ids=lambda file: file.stem)
def test_two_steps_of_every_recipe(file: Path, tiny_folder: Path, tmp_path: Path) -> None:
    parse_spec(load_config(file).grpo.rewards)
    config = shrunk(file, tiny_folder, tmp_path)
    write_samples(tmp_path / "samples.jsonl", samples(config.task, tmp_path))
    stages = (["cold_start"] if config.data.cold_start else []) + ["grpo"]
    for stage in stages:
        run = RunDir.join(config.run.out, stage, config.yaml())  # type: ignore[arg-type]
        Pipeline(config, run).train(stage)  # type: ignore[arg-type]
    rows = [json.loads(line) for line in (config.run.out / "metrics.jsonl").open()]
    assert [(r["stage"], r["step"]) for r in rows] == [(stage, step) for stage in stages for step in (1, 2)]
    assert (config.run.out / "final" / "model.safetensors").is_file()
