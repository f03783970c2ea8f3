"""The configuration refuses what it does not know, says where, and keeps what it is given."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from reasoner_rm.config import Config, load_config
from reasoner_rm.errors import InputError


def write(folder: Path, text: str) -> Path:
    file = folder / "run.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def error_of(file: Path, *overrides: str) -> str:
    with pytest.raises(InputError) as caught:
        load_config(file, overrides)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_unknown_key_names_line_and_nearest(tmp_path: Path) -> None:
    file = write(tmp_path, "run:\n  seed: 1\ngrpo:\n  beta: 0.1\n  temprature: 0.9\n")
    message = error_of(file)
    assert f"{file}:5:" in message and "grpo.temprature" in message and "did you mean 'temperature'?" in message


def test_unknown_section_and_nested_section(tmp_path: Path) -> None:
    assert "did you mean 'grpo'?" in error_of(write(tmp_path, "grpoo: {}\n"))
    message = error_of(write(tmp_path, "rejection_sampling:\n  sft:\n    epochz: 3\n"))
    assert ":3:" in message and "did you mean 'epochs'?" in message


def test_wrong_value_names_line_and_value(tmp_path: Path) -> None:
    message = error_of(write(tmp_path, "grpo:\n  num_generations: 1\n"))
    assert ":2:" in message and "grpo.num_generations" in message and "'1'" in message


@pytest.mark.parametrize("key", ["per_device_train_batch_size", "freeze_vision", "use_vllm"])
def test_foreign_names_are_refused_with_an_explanation(tmp_path: Path, key: str) -> None:
    message = error_of(write(tmp_path, f"grpo:\n  {key}: 4\n"))
    assert "did you mean" not in message and (
        "prompts_per_device" in message or "model.freeze" in message or "engine" in message
    )


def test_overrides_win_and_are_named_when_wrong(tmp_path: Path) -> None:
    file = write(tmp_path, "grpo:\n  beta: 0.1\n")
    config = load_config(file, ("grpo.beta=0", "model.path=here", "grpo.rewards={format: 1, accuracy: 2}"))
    assert (config.grpo.beta, config.model.path, config.grpo.rewards) == (0, "here", {"format": 1, "accuracy": 2})
    assert "--set grpo.betta=1" in error_of(file, "grpo.betta=1")
    assert "a.b=c" in error_of(file, "nonsense")


@pytest.mark.parametrize("text", ["a: [1", "- 1\n- 2\n", "\t"])
def test_broken_yaml_is_one_line(tmp_path: Path, text: str) -> None:
    assert "run.yaml" in error_of(write(tmp_path, text))


def test_missing_file(tmp_path: Path) -> None:
    assert "no such config" in error_of(tmp_path / "none.yaml")


def test_resolved_yaml_reads_back_the_same(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, "data:\n  train: a/b.jsonl\nsft:\n  epochs: 2\n"))
    assert config.data.train == tmp_path / "a/b.jsonl"
    assert Config.model_validate(yaml.safe_load(config.yaml())) == config


def test_defaults_are_the_papers() -> None:
    grpo = Config().grpo
    assert (grpo.loss_type, grpo.beta, grpo.epsilon, grpo.temperature, grpo.num_generations) == (
        "grpo",
        0.04,
        0.2,
        1.0,
        8,
    )
