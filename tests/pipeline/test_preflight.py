"""What stops a stage stops its `--dry-run` with the same line, and leaves no folder behind."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from kill_helpers import write_config
from shell import fails

pytestmark = pytest.mark.engine


@pytest.fixture
def config(tiny_folder: Path, tmp_path: Path) -> Path:
    file = write_config(tmp_path, model={"path": str(tiny_folder)}, run={"out": str(tmp_path / "run")})
    rows = [json.loads(line) for line in (tmp_path / "data" / "train-image_preference.jsonl").open()]
    for name, changes in (
        ("qa", {"task": "qa", "gold": {"answer": "7", "kind": "number"}}),
        ("bare", {"target": None}),
    ):
        text = "".join(json.dumps({**row, **changes}) + "\n" for row in rows)
        (tmp_path / "data" / f"{name}.jsonl").write_text(text)
    return file


@pytest.mark.parametrize(
    ("verb", "overrides", "message"),
    [
        ("grpo", ("task=own.py:task",), "own.py:task"),
        ("grpo", ("data.train=data/qa.jsonl",), "is qa, the run is image_preference"),
        ("grpo", ("data.heldout=data/qa.jsonl",), "is qa, the run is image_preference"),
        ("grpo", ("data.heldout=data/none.jsonl",), "none.jsonl"),
        ("grpo", ("template=none",), "none"),
        ("grpo", ("grpo.rewards=listener",), "reward listener_belief needs a listener"),
        ("grpo", ("grpo.rewards=lottery",), "lottery"),
        ("grpo", ("listener.path=policy",), "set model.lora"),
        ("grpo", ("grpo.prompts_per_device=7",), "6 samples do not fill one step of 7 prompts"),
        ("grpo", ("grpo.max_resample_ratio=1",), "set grpo.filter_epsilon too"),
        ("grpo", ("grpo.filter_epsilon=0",), "none of the rewards"),
        ("grpo", ("grpo.early_stopping_patience=2",), "set eval_steps as well"),
        ("grpo", ("engine.name=http",), "give its URL up to /v1: engine.endpoint.urls"),
        ("grpo", ("model.path=runs/none",), "'runs/none' is no folder, and not in the hub's cache"),
        ("grpo", ("model.path=.",), "no config.json: not a checkpoint"),
        ("sft", ("data.cold_start=data/bare.jsonl",), "has no target"),
        ("sft", (), "data.cold_start is not set"),
        ("rejection-sampling", ("engine.name=http",), "give its URL up to /v1: engine.endpoint.urls"),
    ],
)
def test_a_dry_run_refuses_what_the_stage_refuses(
    verb: str, overrides: tuple[str, ...], message: str, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    options = [part for override in overrides for part in ("--set", override)]
    line = fails(verb, config, *options)
    assert message in line
    assert fails(verb, config, *options, "--dry-run") == line
    assert not (tmp_path / "run").exists()
