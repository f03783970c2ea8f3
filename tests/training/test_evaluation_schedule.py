"""Held-out figures on a schedule: the best weights end the stage, patience ends it early, trackers are told."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from reasoner_rm.config import Config, GrpoSection, load_config
from reasoner_rm.data.io import write_samples
from reasoner_rm.errors import InputError
from reasoner_rm.models.loading import load_vlm
from reasoner_rm.pipeline import stages
from reasoner_rm.pipeline.stages import Pipeline
from reasoner_rm.schema import Sample
from reasoner_rm.training.evaluation import BestCheckpoint, check_schedule
from reasoner_rm.training.run_dir import RunDir

TARGET = "<think>Image 1 shows a square.</think><answer>Image 1 is better</answer>"


@pytest.fixture
def configured(tiny_folder: Path, tmp_path: Path) -> Callable[..., Config]:
    def configured(**sft: Any) -> Config:
        paths = [str(tmp_path / f"{i}.png") for i in range(2)]
        for i, path in enumerate(paths):
            Image.new("RGB", (56, 56), (90 * i, 120, 200)).save(path)
        samples = [
            Sample(str(i), "image_preference", f"cube {i}", tuple(paths), gold={"p_first": 1.0}, target=TARGET)
            for i in range(4)
        ]
        write_samples(tmp_path / "samples.jsonl", samples)
        file = tmp_path / "config.yaml"
        data = {"cold_start": "samples.jsonl", "heldout": "samples.jsonl"}
        sft = {"learning_rate": 1e-3, "max_steps": 6, "batch_size": 2, "eval_steps": 2} | sft
        file.write_text(json.dumps({
            "run": {"out": str(tmp_path / "run"), "report_to": ["tensorboard"]}, "model": {"path": str(tiny_folder)},
            "data": data, "sft": sft, "eval": {"limit": 2, "max_completion_length": 4},
        }))  # fmt: skip
        return load_config(file)

    return configured


def scripted(monkeypatch: pytest.MonkeyPatch, values: list[float], seen: list[torch.Tensor]) -> None:
    """Figures that are what a list says: a tiny untrained model is right as often as not."""

    def make_eval_fn(vlm: Any, *others: Any) -> Any:
        left: Iterator[float] = iter(values)

        def measure() -> dict[str, float]:
            seen.append(vlm.model.lm_head.weight.detach().clone())
            return {"accuracy": next(left)}

        return measure

    monkeypatch.setattr(stages, "make_eval_fn", make_eval_fn)


def run(config: Config, resume: bool = False) -> list[dict[str, Any]]:
    folder = RunDir.join(config.run.out, "cold_start", config.yaml(), resume=resume)
    Pipeline(config, folder, resume=resume).train("cold_start")
    return [json.loads(line) for line in (config.run.out / "metrics.jsonl").open()]


def test_real_figures_are_in_the_metrics_and_in_tensorboard(configured: Callable[..., Config]) -> None:
    config = configured(eval_steps=4)
    rows = run(config)
    measured = {row["step"]: row["eval/accuracy"] for row in rows if "eval/accuracy" in row}
    assert list(measured) == [4, 6] and all(0 <= value <= 1 for value in measured.values())
    assert all(row["time/evaluation"] > 0 for row in rows if row["step"] in measured)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    written = EventAccumulator(str(config.run.out / "trackers" / "cold_start" / "tensorboard"))
    written.Reload()
    loss = {event.step: event.value for event in written.Scalars("train/loss")}
    assert loss == pytest.approx({row["step"]: row["loss"] for row in rows}, rel=1e-4)
    name = next(tag for tag in written.Tags()["scalars"] if tag.endswith("eval/accuracy"))
    assert [event.step for event in written.Scalars(name)] == [4, 6]


def test_the_stage_ends_with_the_best_weights_and_when_patience_does(
    configured: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[torch.Tensor] = []
    scripted(monkeypatch, [0.5, 0.8, 0.7, 0.8, 0.9], seen)
    config = configured(max_steps=10, metric_for_best_model="accuracy", early_stopping_patience=2)
    rows = run(config)
    assert [row["step"] for row in rows][-1] == 8  # 0.8 at step 4; neither 0.7 nor 0.8 is better
    final = load_vlm(config.run.out, device="cpu").model.lm_head.weight
    assert torch.equal(final, seen[1]) and not torch.equal(final, seen[-1])
    assert [p.name for p in (config.run.out / "checkpoints").iterdir()] == ["cold_start"]


def test_the_best_so_far_is_remembered(tmp_path: Path) -> None:
    weights = {"a": torch.ones(2)}
    before, after = (BestCheckpoint("accuracy", 2, tmp_path / "best.safetensors") for _ in range(2))
    assert not before.update({"accuracy": 0.7}, lambda: weights) and not before.update({"accuracy": 0.6}, dict)
    after.load_state_dict(json.loads(json.dumps(before.state_dict())))
    assert after.update({"accuracy": 0.7}, dict)  # the second in a row that is no better
    kept = after.weights()
    assert kept is not None and torch.equal(kept["a"], weights["a"])
    with pytest.raises(InputError, match="accuracy"):
        after.update({"ap50": 0.1}, dict)


@pytest.mark.parametrize(
    ("settings", "held_out", "why"),
    [
        ({"metric_for_best_model": "accuracy"}, True, "set eval_steps"),
        ({"eval_steps": 5, "early_stopping_patience": 2}, True, "set metric_for_best_model"),
        ({"eval_steps": 5}, False, "data.heldout"),
    ],
)
def test_a_schedule_that_cannot_be_kept_is_refused(settings: dict[str, Any], held_out: bool, why: str) -> None:
    with pytest.raises(InputError, match=why):
        check_schedule(GrpoSection(**settings), held_out)


def test_a_tracker_that_is_not_installed_is_named(configured: Callable[..., Config]) -> None:
    config = configured()
    other = config.model_copy(update={"run": config.run.model_copy(update={"report_to": ("trackio",)})})
    if importlib.util.find_spec("trackio") is not None:
        pytest.skip("it is installed here")
    with pytest.raises(InputError, match="trackio, which is not installed; pip install trackio"):
        run(other)
