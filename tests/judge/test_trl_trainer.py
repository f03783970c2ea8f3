"""The adapters for TRL inside its real GRPOTrainer: what it hands to a reward, and what it makes of the answer."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pytest
import trl
from fake_engine import picture, seeing_judge
from trl_settings import PLAIN

from reasoner_rm.judge.adapters import as_trl_reward, as_trl_reward_async
from reasoner_rm.models.loading import Vlm

pytestmark = pytest.mark.engine

STEPS, GROUP = 2, 2


@pytest.mark.parametrize("make", [as_trl_reward, as_trl_reward_async])
def test_two_steps_of_grpo(make: Callable[..., Any], tiny: Vlm, tmp_path: Path) -> None:
    judge = seeing_judge(task="response_preference")
    question = [{"role": "user", "content": "What colour?"}]
    rows = [{"prompt": question, "image": picture(colour, side=56)} for colour in ("red", "blue")]
    config = trl.GRPOConfig(
        output_dir=str(tmp_path),
        per_device_train_batch_size=GROUP,
        num_generations=GROUP,
        max_completion_length=6,
        max_steps=STEPS,
        **PLAIN,
    )
    trainer = trl.GRPOTrainer(
        model=copy.deepcopy(tiny.model),
        reward_funcs=make(judge),
        args=config,
        train_dataset=datasets.Dataset.from_list(rows),
        processing_class=tiny.processor,
    )
    trainer.train()
    logged = [row for row in trainer.state.log_history if "reward" in row]
    assert len(logged) == STEPS
    for row in logged:
        assert row["reward"] == row["rewards/judge_reward/mean"] == 0.5, "every comparison is won once"
        assert row["judge/unread"] == 0.0
    asked = judge.engine.engine.asked  # type: ignore[attr-defined]
    assert len(asked) == STEPS * GROUP * (GROUP - 1), "each pair of a group, in both orders"
    assert {len(request.prompt.images) for request in asked} == {1}
    assert all("What colour?" in "".join(map(str, request.prompt.content)) for request in asked)
