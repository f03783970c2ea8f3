"""Rewards against hand-computed values, and what None means in the mix."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasoner_rm.errors import InputError
from reasoner_rm.rewards import REWARDS, get_reward, parse_spec, score, score_components, weighted_sum, weights
from reasoner_rm.schema import Belief, Completion, Group, RewardContext, Sample
from reasoner_rm.tasks import get_task

FIRST = Sample("a", "image_preference", "a 7", images=("x", "y"), gold={"p_first": 1.0})
GOOD = "<think>Image 1 fits.</think>\n<answer>Image 1 is better</answer>"
BAD = "<think>Image 2 fits.</think>\n<answer>Image 2 is better</answer>"


def belief(first: float) -> Belief:
    return Belief(("1", "2"), (first, 1 - first), 1.0)


def components(text: str, sample: Sample = FIRST, heard: Belief | None = None) -> dict[str, float | None]:
    return score("listener", text, sample, RewardContext(beliefs=(heard,)))


def test_listener_vector_of_the_paper_notes() -> None:
    """Option logits (2, 0): the listener's probability is .8808; gold 1 gives 1.9404, gold 2 and verdict 1 1.0596."""
    p = math.exp(2) / (math.exp(2) + 1)
    assert components(GOOD, heard=belief(p))["total"] == pytest.approx(1.9404, abs=1e-4)
    second = Sample("b", "image_preference", "a 7", images=("x", "y"), gold={"p_first": 0.0})
    assert components(GOOD, second, belief(p))["total"] == pytest.approx(1.0596, abs=1e-4)


def test_malformed_text_earns_no_belief_even_when_the_listener_is_sure() -> None:
    assert components(GOOD + " and more", heard=belief(1.0)) == {
        "format": 0.0, "accuracy": 1.0, "listener_belief": 0.0, "total": 0.5,
    }  # fmt: skip


def test_soft_gold_weighs_both_options() -> None:
    soft = Sample("c", "image_preference", "a 7", images=("x", "y"), gold={"p_first": 0.75})
    assert components(GOOD, soft, belief(0.9))["listener_belief"] == pytest.approx(0.75 * 0.9 + 0.25 * 0.1)


def test_ties_have_no_accuracy() -> None:
    tie = Sample("d", "image_preference", "a 7", images=("x", "y"), gold={"p_first": 0.5})
    assert score("accuracy", GOOD, tie) == {"accuracy": None, "total": None}


def test_none_for_all_drops_and_none_for_some_takes_the_mean() -> None:
    weights = {"a": 1.0, "b": 2.0, "c": 4.0}
    totals = weighted_sum(weights, {"a": (1.0, 0.0, 0.5), "b": (1.0, None, 0.0), "c": (None, None, None)})
    assert totals == pytest.approx((3.0, 1.0, 0.5))


def test_an_unscorable_completion_takes_the_groups_mean_belief() -> None:
    group = Group(FIRST, tuple(Completion(t, (), (), "stop") for t in (GOOD, BAD, GOOD)))
    parsed = [get_task(FIRST.task).parse(c.text, FIRST) for c in group.completions]
    context = RewardContext(beliefs=(belief(0.8), belief(0.2), None))
    found = score_components(parse_spec("listener"), group, parsed, context)
    assert found["listener_belief"] == (0.8, pytest.approx(0.2), None)
    assert weighted_sum(weights(parse_spec("listener")), found) == pytest.approx((1.9, 1.1, 1.75))


def test_a_reward_that_leaves_its_range_is_a_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    from reasoner_rm.rewards import base

    monkeypatch.setitem(REWARDS, "wild", base.Reward("wild", (0.0, 1.0), lambda g, p, c: [2.0]))
    with pytest.raises(InputError, match=r"wild returned \[2.0\] for sample"):
        score("wild", GOOD, FIRST)


@given(st.text(max_size=300))
def test_no_text_breaks_a_reward_or_leaves_its_range(text: str) -> None:
    for name, value in components(text, heard=belief(0.7)).items():
        assert value is not None and 0 <= value <= (2 if name == "total" else 1)
    if "</answer>" not in text:
        assert components(text)["accuracy"] == 0.0


def test_names() -> None:
    assert weights(parse_spec("format")) == {"format": 1.0}
    assert weights(parse_spec("listener")) == {"format": 1.0, "accuracy": 0.5, "listener_belief": 0.5}
    with pytest.raises(InputError, match="did you mean 'accuracy'"):
        get_reward("acuracy")
    with pytest.raises(InputError, match="did you mean 'listener'"):
        parse_spec("listner")
    assert all(r.doc for r in REWARDS.values())


def test_score_takes_a_plain_object() -> None:
    row = {"id": "1", "task": "qa", "prompt": "2+2?", "gold": {"answer": "4", "kind": "number"}}
    assert score("accuracy", "<think>.</think><answer>4</answer>", row)["total"] == 1.0
    with pytest.raises(InputError, match="unknown field"):
        score("accuracy", "x", {**row, "golds": {}})
