"""No text breaks a reward, moves it out of its range, or is paid unread; `benchmarks/fuzz_rewards.py` runs 10,000."""

from __future__ import annotations

from typing import Any

import pytest
from reward_fuzzing import MATH, REWARDS, SAMPLES, VARIANTS, fuzz, honest, percentile

from reasoner_rm.rewards import score
from reasoner_rm.rewards.base import Reward
from reasoner_rm.tasks import get_task

TEXTS = 1000
UNPAYING = {"repetition", "overlong", "length_penalty", "no_eos", "banned", "degenerate", "leak"}


@pytest.mark.parametrize("name", REWARDS)
def test_no_text_breaks_a_reward_or_is_paid_unread(name: str) -> None:
    found = fuzz(REWARDS[name], TEXTS, most=200_000)
    assert not found.faults
    assert (found.paid == 0) == (name in UNPAYING)  # the texts do reach what pays
    assert percentile(found.seconds, 0.99) < 0.05  # 10 ms on a machine with nothing else to do


@pytest.mark.parametrize(("name", "params"), VARIANTS)
def test_nor_with_other_parameters(name: str, params: dict[str, Any]) -> None:
    found = fuzz(REWARDS[name], TEXTS, params=params, most=200_000)
    assert not found.faults
    assert (found.paid == 0) == (name in UNPAYING)
    assert percentile(found.seconds, 0.99) < 0.05


def test_formulas_too() -> None:
    found = fuzz(REWARDS["accuracy"], 100, (MATH,), most=200_000)
    assert not found.faults and found.paid


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda s: s.id)
def test_the_honest_text_is_well_formed_and_right(sample: Any) -> None:
    get_task(sample.task).validate(sample)
    assert score("format", honest(sample), sample)["total"] == 1
    assert score("accuracy", honest(sample), sample)["total"] == 1


@pytest.mark.parametrize(
    ("broken", "fault"),
    [
        (lambda g, p, c: [float("<answer>" in g.completions[0].text)], "paid 1.0 for"),
        (
            lambda g, p, c: [float(len(g.completions[0].text))],
            "return 1 values, each None or a number in [0, 1]",
        ),
        (lambda g, p, c: [float("nan")], "returned [nan]"),
        (lambda g, p, c: [1.0 / len(p[0].answer or "")], "ZeroDivisionError"),
    ],
)
def test_the_fuzz_sees_a_broken_reward(broken: Any, fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(REWARDS, "broken", Reward("broken", (0.0, 1.0), broken))
    assert any(fault in line for line in fuzz(REWARDS["broken"], 300, most=1000).faults)
