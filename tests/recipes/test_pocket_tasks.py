"""`reasoner-rm pocket` in the world of shapes, every task: all stages run, and the report shows what was measured."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from shell import shell

from reasoner_rm.pipeline.demos import WORLDS, DatasetSizes

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
SHORT = (
    "sft.max_steps=12",
    "rejection_sampling.num_samples=1",
    "rejection_sampling.sft.max_steps=2",
    "grpo.max_steps=2",
    "eval.limit=16",
)


@pytest.mark.parametrize("task", WORLDS["shapes"])
def test_every_task_runs_to_its_report(task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = dataclasses.replace(WORLDS["shapes"][task], quick_sizes=DatasetSizes(96, 32, heldout=16, ood=16))
    monkeypatch.setitem(WORLDS["shapes"], task, few)
    out = tmp_path / "run"
    done = shell("pocket", "--task", task, "--quick", "--out", out, *(f"--set={s}" for s in SHORT))
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
    assert "By difficulty" in page and "Evaluated items" in page
