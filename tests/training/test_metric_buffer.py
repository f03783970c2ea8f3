"""The values of a step: means weighted by the tokens that they are means over, maxima, and the rollouts logged."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest

from reasoner_rm.config import GrpoSection
from reasoner_rm.errors import InputError
from reasoner_rm.training.metric_buffer import MetricBuffer, pooled_by_name
from reasoner_rm.training.rollout_collector import RolloutCollector
from reasoner_rm.training.sampler_check import check_agreement


def test_a_mean_over_tokens_is_not_the_mean_of_the_packs_means() -> None:
    buffer = MetricBuffer()
    buffer.add(90, entropy=1.0, gap_max=0.1)
    buffer.add(10, entropy=2.0, gap_max=0.7)
    buffer.add(reward=1.0)
    buffer.add(reward=2.0, time__rollout=3.0)
    assert buffer.mean("entropy") == pytest.approx(1.1) and buffer.mean("none") is None
    assert buffer.pooled() == pytest.approx({"entropy": 1.1, "gap_max": 0.7, "reward": 1.5, "time/rollout": 3.0})
    assert not buffer


def test_processes_weigh_by_their_tokens() -> None:
    assert pooled_by_name([{"kl": [(1.0, 3.0)]}, {"kl": [(5.0, 1.0)]}, {}]) == {"kl": 2.0}


def test_an_engine_without_log_probabilities_is_named_as_such() -> None:
    check_agreement(0.05, 0.1)
    check_agreement(None, math.inf)
    with pytest.raises(InputError, match=r"reports no log-probabilities.*set engine.max_logprob_gap: \.inf"):
        check_agreement(None, 0.1)
    for gap in (0.2, math.nan):
        with pytest.raises(InputError, match="nats from the trainer's in the mean"):
            check_agreement(gap, 0.1)


@pytest.mark.parametrize(
    ("updates", "every", "logged"), [(1, 10, [0, 10, 20, 30]), (3, 10, [0, 9, 18, 30]), (4, 2, [])]
)
def test_rollouts_are_logged_every_n_steps_whatever_the_updates_of_a_batch(
    updates: int, every: int, logged: list[int]
) -> None:
    section = GrpoSection(rewards="accuracy", num_iterations=updates, log_rollouts_every=every)
    steps: list[int] = []
    fields: dict[str, Any] = {f.name: None for f in dataclasses.fields(RolloutCollector)}
    fields |= {"section": section, "on_groups": lambda step, scored: steps.append(step)}
    collector = RolloutCollector(**fields)
    begins = list(range(0, 31, updates))
    for step in begins:
        collector.log_rollouts(step, [])
    assert steps == (logged or begins), "every batch where N is below the updates"
