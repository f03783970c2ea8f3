"""Trainings by the shell's own verb whose server is killed in their midst, and what became of their weights."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from data_recipes.pocket import build
from reasoner_rm.cli import main

BABBLE = '''
def babble(group, parsed, context):
    """A reward that an untrained model's completions already differ in."""
    return [sum(map(ord, c.text)) % 7 / 6 for c in group.completions]
'''


def write_config(folder: Path, **sections: Any) -> Path:
    """Four steps of GRPO on six pictures."""
    (folder / "own.py").write_text(BABBLE)
    data = {"train": str(build(folder / "data", "train", "image_preference", 6, 0))}
    grpo = {
        "rewards": {"own.py:babble": 1.0}, "max_steps": 4, "prompts_per_device": 2, "gradient_accumulation_steps": 1,
        "num_generations": 3, "max_completion_length": 8, "learning_rate": 1e-3,
    }  # fmt: skip
    config = {"task": "image_preference", "template": "brief", "data": data} | sections
    config["grpo"] = grpo | sections.get("grpo", {})
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump(config))
    return file


def grpo(config: Path, run: Path, *options: str) -> int:
    """The exit code of `reasoner-rm grpo`."""
    with pytest.raises(SystemExit) as done:
        main(["grpo", str(config), "--set", f"run.out={run}", *options])
    return int(done.value.code or 0)


def steps(run: Path) -> list[dict[str, float]]:
    """What each step logged so far."""
    file = run / "metrics.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.is_file() else []


def after(run: Path, step: int, do: Callable[[], None]) -> threading.Thread:
    """Does something as soon as a run has logged a step."""

    def wait() -> None:
        end = time.monotonic() + 300
        while len(steps(run)) < step and time.monotonic() < end:
            time.sleep(0.01)
        do()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


def apart(one: Path, two: Path) -> float:
    """The greatest difference between two runs' weights, relative to the greatest weight."""
    a, b = (load_file(run / "final" / "model.safetensors") for run in (one, two))
    assert a.keys() == b.keys()
    return max(float((a[n] - b[n]).abs().max()) for n in a) / max(float(torch.max(a[n].abs())) for n in a)
