"""How tests start `distributed_training.py`, alone or on several processes, and read what it found."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

SCRIPT = Path(__file__).with_name("distributed_training.py")


def tidy_environment() -> dict[str, str]:
    """A process of few threads that sees no GPU."""
    return os.environ | {"OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu", "CUDA_VISIBLE_DEVICES": ""}


def start(out: Path, plan: dict[str, Any], count: int = 1) -> subprocess.Popen[str]:
    """The processes of a plan, under way."""
    out.mkdir(parents=True, exist_ok=True)
    command = [sys.executable]
    if count > 1:
        command += ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(count)]
    return subprocess.Popen(
        [*command, str(SCRIPT), str(out), json.dumps(plan)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=tidy_environment(),
    )  # fmt: skip


def finish(process: subprocess.Popen[str], timeout: float = 240) -> str:
    """What it said, once it has ended well."""
    try:
        said, _ = process.communicate(timeout=timeout)
    finally:
        process.kill()
    assert process.returncode == 0, said[-4000:]
    return said


def train(out: Path, plan: dict[str, Any], count: int = 1) -> dict[str, Any]:
    """Run a plan to its end."""
    finish(start(out, plan, count))
    return torch.load(out / "found.pt")


def apart(got: dict[str, Any], want: dict[str, Any]) -> float:
    """The greatest difference between two trainings' weights."""
    assert got["weights"].keys() == want["weights"].keys()
    return max(float((got["weights"][n] - want["weights"][n]).abs().max()) for n in want["weights"])


def share_apart(got: dict[str, Any], want: dict[str, Any], tolerance: float) -> float:
    """The share of weights that differ by more than this between two trainings."""
    pairs = [(got["weights"][n], want["weights"][n]) for n in want["weights"]]
    return sum(int(((a - b).abs() > tolerance).sum()) for a, b in pairs) / sum(a.numel() for a, _ in pairs)
