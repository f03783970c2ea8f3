"""`--dry-run`: what a stage would do, without doing it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from shell import shell
from solid_color_samples import write_flat_rows

from reasoner_rm.config import load_config
from reasoner_rm.errors import InputError
from reasoner_rm.pipeline.dry_run import plan

pytestmark = pytest.mark.engine


@pytest.fixture
def recipe(tiny_folder: Path, tmp_path: Path) -> Path:
    write_flat_rows(tmp_path, 12)
    file = tmp_path / "recipe.yaml"
    file.write_text(
        f"""
run: {{out: {tmp_path / "run"}}}
model: {{path: {tiny_folder}}}
data: {{train: rows.jsonl, cold_start: rows.jsonl}}
sft: {{batch_size: 2, gradient_accumulation_steps: 2, epochs: 3}}
grpo: {{rewards: accuracy, prompts_per_device: 1, gradient_accumulation_steps: 2,
       num_generations: 4, max_completion_length: 32,
  num_iterations: 2, epochs: 2}}
"""
    )
    return file


def test_the_steps_add_up(recipe: Path) -> None:
    found = plan(load_config(recipe), "grpo", gpus=2, speed=100.0)
    assert found["steps"] == {
        "optimizer_steps": 12, "groups_a_step": 4, "completions_a_step": 16, "tokens_a_step": 512, "groups": 24,
    }  # fmt: skip
    assert found["samples"] == 12 and found["rollout_seconds_a_step"] == round(512 / 2 / 100, 1)
    assert plan(load_config(recipe), "cold_start")["steps"] == {"optimizer_steps": 9, "samples_a_step": 4}


def test_what_does_not_fit_comes_with_what_would(recipe: Path) -> None:
    found = plan(load_config(recipe), "grpo", gpu_gb=1e-4)
    assert not found["fits"] and any("model.lora" in way for way in found["advice"])
    roomy = plan(load_config(recipe), "grpo", gpu_gb=80)
    assert roomy["fits"] and roomy["memory_gb"]["engine"] == 32.0, "vLLM's share of the card"
    with pytest.raises(InputError, match="not set"):
        plan(load_config(recipe, ("data.train=null",)), "grpo")


def test_advice_begins_with_the_largest_part(recipe: Path, tiny_qwen3_folder: Path) -> None:
    """A listener as large as the policy, beside LoRA: lend the base, or serve it."""
    listener = (f"listener.path={tiny_qwen3_folder}", "listener.dtype=float32", "model.lora.r=2", "engine.name=http")
    served = ('engine.endpoint.urls=["http://localhost:1/v1"]', f"engine.weight_sync_dir={recipe.parent}")
    config = load_config(recipe, (*listener, *served, "model.dtype=bfloat16", "grpo.max_completion_length=4"))
    first, *rest = plan(config, "grpo", gpu_gb=1e-3)["advice"]
    part, size, total = re.fullmatch(r"(\w+), ([\d.]+) of ([\d.]+) GB: listener.path: policy.*serve it", first).groups()  # type: ignore[union-attr]
    assert part == "listener" and float(size) <= float(total) and rest
    lent = config.model_copy(update={"listener": config.listener.model_copy(update={"path": "policy"})})
    assert plan(lent, "grpo")["memory_gb"]["listener"] == 0 < plan(config, "grpo")["memory_gb"]["listener"]


def test_the_shell_says_it_and_writes_nothing(recipe: Path) -> None:
    done = shell("grpo", recipe, "--dry-run", "--json")
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert found["config"]["grpo"]["num_generations"] == 4 and found["memory_gb"]["weights"] > 0
    assert not (recipe.parent / "run").exists()
