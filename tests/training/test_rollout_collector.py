"""What a rollout asks of sharded weights."""

from __future__ import annotations

import copy
import dataclasses
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest

from reasoner_rm.config import GrpoSection
from reasoner_rm.listener import frozen_listener
from reasoner_rm.models.loading import Vlm
from reasoner_rm.rollout import RolloutEngine
from reasoner_rm.rollout.http_engine import HttpEngine
from reasoner_rm.rollout.transformers_engine import TransformersEngine
from reasoner_rm.rollout.vllm.engine import VllmEngine
from reasoner_rm.tasks.render import load_template
from reasoner_rm.training import rollout_collector
from reasoner_rm.training.metric_buffer import MetricBuffer
from reasoner_rm.training.rollout_collector import RolloutCollector
from reasoner_rm.training.timers import StepTimer


class Scorer:
    """Scores nothing."""

    filter_metric = "accuracy"

    def __call__(self, *_: Any) -> list[Any]:
        return []


@pytest.mark.parametrize("engine_class", [TransformersEngine, VllmEngine, HttpEngine])
@pytest.mark.parametrize("lent", [False, True])
def test_weights_are_gathered_for_whoever_computes_with_them(
    engine_class: type[RolloutEngine], lent: bool, tiny: Vlm, monkeypatch: pytest.MonkeyPatch
) -> None:
    gathered: list[Any] = []
    monkeypatch.setattr(rollout_collector, "summon_full_params", lambda model: gathered.append(model) or nullcontext())
    policy = dataclasses.replace(tiny, model=copy.deepcopy(tiny.model))  # a lent listener freezes it
    engine = TransformersEngine(policy) if engine_class is TransformersEngine else engine_class.__new__(engine_class)
    fields: dict[str, Any] = {f.name: None for f in dataclasses.fields(RolloutCollector)}
    listener = frozen_listener(policy, load_template("image_preference", "brief")) if lent else None
    fields |= {
        "section": GrpoSection(), "engine": engine, "scorer": Scorer(), "timer": StepTimer(), "listener": listener,
        "metrics": MetricBuffer(), "optimization": SimpleNamespace(vlm=policy, model="the wrapped model"),
    }  # fmt: skip
    RolloutCollector(**fields).collect([], 0, 0.0)
    assert gathered == (["the wrapped model"] if lent or engine_class is TransformersEngine else [])
