"""Each alarm rings for its own trouble, once, and for nothing else."""

from __future__ import annotations

import json

import pytest

from reasoner_rm.config import AlarmSection
from reasoner_rm.training.alarms import CHECKS, Alarms

FINE = {"entropy": 1.0, "completion_length": 50.0, "reward/format": 0.5, "reward/accuracy": 0.5, "zero_variance": 0.3,
        "sampler_logprob_gap": 0.001, "kl": 0.01}  # fmt: skip
BAD: dict[str, dict[str, float]] = {
    "entropy_collapse": {"entropy": 0.05},
    "length_runaway": {"completion_length": 150.0},
    "format_only": {"reward/format": 0.9},
    "zero_variance": {"zero_variance": 0.9},
    "engine_mismatch": {"sampler_logprob_gap": 0.2},
    "kl_runaway": {"kl": 2.0},
}


def run(alarms: Alarms, *spans: dict[str, float]) -> list[tuple[int, str]]:
    """What rings when: five steps of each of these metrics."""
    steps = [FINE | span for span in spans for _ in range(5)]
    return [(step, name) for step, metrics in enumerate(steps, 1) for name in alarms.update(step, metrics)]


@pytest.mark.parametrize("name", CHECKS)
def test_it_rings_once_for_its_own_trouble(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    rung = run(Alarms(AlarmSection(steps=5)), {}, BAD[name], BAD[name])
    assert [n for _, n in rung] == [name] and 5 < rung[0][0] <= 10
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1 and name in said[0] and "likely" in said[0]


def test_it_is_silent_while_all_is_well() -> None:
    well = {"reward/format": 0.9, "reward/accuracy": 0.6}
    assert run(Alarms(AlarmSection(steps=5)), {}, well, {"entropy": 0.5}) == []


def test_a_limit_can_be_switched_off_and_a_missing_metric_is_no_trouble() -> None:
    off = {"entropy_share": None, "length_ratio": None, "format_rise": None, "zero_variance": None,
           "sampler_logprob_gap": None, "kl": None}  # fmt: skip
    every = {k: v for bad in BAD.values() for k, v in bad.items()}
    assert run(Alarms(AlarmSection(steps=5, **off)), {}, every) == []  # type: ignore[arg-type]
    assert Alarms(AlarmSection(steps=1)).update(1, {"loss": float("nan"), "kl": float("nan")}) == []


def test_it_remembers_over_a_resume() -> None:
    before, after = Alarms(AlarmSection(steps=5)), Alarms(AlarmSection(steps=5))
    run(before, {}, BAD["kl_runaway"])
    after.load_state_dict(json.loads(json.dumps(before.state_dict())))
    assert run(after, BAD["kl_runaway"] | BAD["entropy_collapse"])[0][1] == "entropy_collapse"
    assert after.triggered == ["kl_runaway", "entropy_collapse"]


def test_only_those_that_are_named_end_a_run() -> None:
    alarms = Alarms(AlarmSection(stop_on=("kl_runaway",)))
    assert alarms.fatal(["zero_variance", "kl_runaway"]) == ["kl_runaway"] and alarms.fatal(["zero_variance"]) == []
