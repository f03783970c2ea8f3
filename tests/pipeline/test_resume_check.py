"""A stage under way goes on with the settings that it began with."""

from __future__ import annotations

from pathlib import Path

import pytest

from reasoner_rm.cli import main
from reasoner_rm.config import Config
from reasoner_rm.errors import InputError
from reasoner_rm.pipeline.pocket import demo_config, get_demo
from reasoner_rm.pipeline.resume_check import check_unchanged
from reasoner_rm.training.run_dir import RunDir


def config(out: Path, *overrides: str) -> Config:
    return demo_config(get_demo("shapes", "preference"), out, 0, overrides)


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    run = RunDir.create(tmp_path / "run", config(tmp_path / "run").yaml())
    run.states("grpo").mkdir(parents=True)
    return run


@pytest.mark.parametrize(
    "override",
    ["grpo.save_steps=7", "sft.learning_rate=1", "engine.name=vllm", "eval.limit=3", "data.workers=2"],
)
def test_what_a_stage_does_not_depend_on_may_change(run: RunDir, override: str) -> None:
    check_unchanged(run, "grpo", config(run.path, override))


def test_what_it_depends_on_may_not(run: RunDir) -> None:
    now = config(run.path, "grpo.num_generations=4", "model.min_pixels=784", "run.seed=3")
    with pytest.raises(InputError, match=r"was started with other settings: .*run\.seed was 0 and is 3") as caught:
        check_unchanged(run, "grpo", now)
    assert "grpo.num_generations was 8 and is 4" in str(caught.value) and "\n" not in str(caught.value)
    check_unchanged(run, "rejection_sampling", config(run.path, "run.seed=3"))  # nothing of it is under way


def test_the_shell_says_so_before_anything_is_loaded(run: RunDir, capsys: pytest.CaptureFixture[str]) -> None:
    file = run.path / "again.yaml"
    file.write_text(config(run.path, "grpo.learning_rate=0.5").yaml())
    with pytest.raises(SystemExit, match="2"):
        main(["grpo", str(file), "--resume"])
    assert "grpo.learning_rate was 0.00024 and is 0.5; resume with those" in capsys.readouterr().err
    assert "0.5" not in (run.path / "config.resolved.yaml").read_text()
