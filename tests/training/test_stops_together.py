"""What ends one of two processes ends both, in good order; neither is left waiting for the other."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from launch_helpers import Ranks, finish, start

from reasoner_rm.training.checkpoints import Checkpoints

pytestmark = [pytest.mark.distributed, pytest.mark.slow]

SECTION: dict[str, Any] = {"max_steps": 200, "gradient_accumulation_steps": 1}


def test_a_signal_to_one_stops_both_after_the_same_step(tiny_folder: Path, tmp_path: Path) -> None:
    plan = {"model": str(tiny_folder), "states": True, "every": 1000, "section": SECTION}
    ranks = start(tmp_path, plan, 2)
    ranks.wait_for("1/200")
    os.kill(int((tmp_path / "1.pid").read_text()), signal.SIGTERM)
    said = finish(ranks)
    steps = Checkpoints(tmp_path / "steps", 1, 1).steps()
    assert len(steps) == 1 and steps[0] < 200
    assert said.count(f"after step {steps[0]}; its state is saved") == 2  # both say so


def test_what_outlives_the_process_group_does_not_hang(tmp_path: Path) -> None:
    """DDP's reducer is never the last owner: the destructor would wait for a thread that may need the GIL."""
    finish(Ranks("distributed_groups:end_before_ddp", (str(tmp_path / "store"),), tmp_path / "output.txt", 2), 60)


@pytest.mark.parametrize("stage", ["grpo", "sft"])
def test_an_error_of_one_leaves_none_waiting(stage: str, tiny_folder: Path, tmp_path: Path) -> None:
    ranks = start(tmp_path, {"model": str(tiny_folder), "stage": stage, "broken": 1, "section": SECTION}, 2)
    said = ranks.wait(200)  # nobody ends one because the other has ended
    assert ranks.returncodes == [2, 2]
    lines = [line for line in said.splitlines() if line.startswith("error: ")]
    assert lines and all("missing.png" in line for line in lines), said[-3000:]
    assert "Connection closed" not in said
