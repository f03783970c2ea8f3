"""No model outlives its use: what is in memory whenever the next one is loaded."""

from __future__ import annotations

import weakref
from pathlib import Path
from typing import Any

import pytest

from data_recipes.pocket import build
from reasoner_rm.config import Config
from reasoner_rm.models.loading import Vlm, load_vlm
from reasoner_rm.pipeline import context, listener_factory
from reasoner_rm.pipeline.stages import Pipeline
from reasoner_rm.training.run_dir import RunDir

pytestmark = pytest.mark.engine


def test_each_stage_releases_its_models(tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[weakref.ref[Any]] = []
    live: list[int] = []

    def counted(*args: Any, **more: Any) -> Vlm:
        live.append(sum(ref() is not None for ref in loaded))
        vlm = load_vlm(*args, **more)
        loaded.append(weakref.ref(vlm.model))
        return vlm

    monkeypatch.setattr(context, "load_vlm", counted)
    monkeypatch.setattr(listener_factory, "load_vlm", counted)
    data = {name: build(tmp_path / "data", name, "image_preference", 4, 0) for name in ("train", "heldout")}
    config = Config.model_validate({
        "task": "image_preference", "template": "brief",
        "model": {"path": str(tiny_folder), "min_pixels": 12544, "max_pixels": 12544},
        "data": data | {"cold_start": data["train"]},
        "sft": {"max_steps": 1, "batch_size": 2, "gradient_accumulation_steps": 1},
        "rejection_sampling": {"num_samples": 2, "max_completion_length": 4},
        "grpo": {"rewards": "format", "max_steps": 1, "prompts_per_device": 1, "gradient_accumulation_steps": 1,
                 "num_generations": 2, "max_completion_length": 4, "beta": 0.04},
        "eval": {"max_completion_length": 4, "limit": 2}, "run": {"out": str(tmp_path / "run")},
        "engine": {"name": "transformers"}, "listener": {"path": str(tiny_folder)},
    })  # fmt: skip
    pipeline = Pipeline(config, RunDir.create(tmp_path / "run", config.yaml()))
    for stage in ("cold_start", "rejection_sampling", "grpo"):
        live.clear()
        pipeline.train(stage)  # type: ignore[arg-type]
        pipeline.evaluate_stage(stage)  # type: ignore[arg-type]
        # policy and listener of a stage are two, and so are those of its evaluation
        expected = {"cold_start": [0, 0, 1], "rejection_sampling": [0, 0, 0, 1], "grpo": [0, 1, 0, 1]}[stage]
        assert live == expected, (stage, live)
        loaded = [ref for ref in loaded if ref() is not None]
