"""`reasoner-rm pocket` in the world of shapes, every task: all stages run, and the report shows what was measured."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from reasoner_rm.pipeline.demos import WORLDS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
SHORT = (
    "sft.max_steps=12",
    "rejection_sampling.num_samples=1",
    "rejection_sampling.sft.max_steps=2",
    "grpo.max_steps=2",
    "eval.limit=16",
)


@pytest.mark.parametrize("task", WORLDS["shapes"])
def test_every_task_runs_to_its_report(task: str, tmp_path: Path) -> None:
    out = tmp_path / "run"
    command = [sys.executable, "-m", "reasoner_rm", "pocket", "--task", task, "--quick", "--out", str(out)]
    done = subprocess.run([*command, *(f"--set={s}" for s in SHORT)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert f"report: {out / 'report.html'}" in done.stdout
    assert ("judge:" in done.stdout) == (task == "preference")
    summary = json.loads((out / "summary.json").read_text())
    for stage in ("cold_start", "rejection_sampling", "grpo"):
        figures = summary["stages"][stage]["heldout"]
        assert figures["n"] == 16 and set(figures["by"]) >= {"difficulty"}
        assert (figures["consistency"] is None) == (task != "preference")
        assert (figures["mean_ap"] is None) == (task != "detection")
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "By difficulty" in page and "Every item" in page
