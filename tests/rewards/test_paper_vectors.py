"""Values computed by hand from the papers' formulas: differentiation, recall, precision, lengths, listener, GRPO."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from reasoner_rm.rewards import explain, parse_spec, score, weights
from reasoner_rm.rewards.length import tokens
from reasoner_rm.rewards.scoring import score_components
from reasoner_rm.rewards.vision_r1 import differentiated
from reasoner_rm.rewards.vlm_r1 import length_factor
from reasoner_rm.schema import Belief, Completion, Group, RewardContext, Sample
from reasoner_rm.tasks import get_task
from reasoner_rm.training.advantages import group_advantages

SIDE = 100.0
FAR = (5000, 5000, 5100, 5100)


def box(column: int, overlap: float = 1.0) -> list[float]:
    """A box whose IoU with ``box(column)`` is ``overlap``: as wide, less high."""
    left = 1000.0 * column
    return [left, 0.0, left + SIDE, SIDE * overlap]


def gold(n: int) -> Sample:
    items = [{"bbox_2d": box(i), "label": "cube"} for i in range(n)]
    return Sample("b", "detection", "cube", ("a.png",), gold={"boxes": items})


def said(*boxes: Any) -> str:
    items = [{"bbox_2d": list(b), "label": "cube"} for b in boxes]
    return f"<think>.</think><answer>{json.dumps(items)}</answer>"


@pytest.mark.parametrize(("x", "f"), [(0.49, 0), (0.5, 0.5), (0.6, 0.6), (0.75, 1), (0.8, 1)])
def test_differentiation(x: float, f: float) -> None:
    assert differentiated(x, 0.5, 0.75) == f  # at 0.75 the paper's ≥; its code has >, and 0.75 there


THREE = said(box(0, 0.9), box(1, 0.6), box(2, 0.4))


def test_recall() -> None:
    assert score("box_recall", THREE, gold(4))["total"] == 0.5
    second = {"beginner": (0.75, 0.75, 0.9)}
    assert score("box_recall", THREE, gold(4), **second)["total"] == 0
    assert explain("box_recall", THREE, gold(4), params=second).metrics == {"vision_r1/recall": 0.25}


def test_precision() -> None:
    assert score("box_precision", THREE, gold(4))["total"] == pytest.approx(1.6 / 3)
    assert score("box_precision", THREE, gold(4), over="matched")["total"] == pytest.approx(1.6 / 3)


def test_od_length() -> None:
    assert 0.6 * length_factor(5, 10) == pytest.approx(0.30)
    assert 0.6 * length_factor(5, 3) == pytest.approx(0.6)
    ten = said(*[box(i) for i in range(5)], *[FAR] * 5)
    assert score("od_map", ten, gold(5))["total"] == 1
    assert score("od_length", ten, gold(5))["total"] == 0.5


def test_weighted_sum() -> None:
    found = said(box(0, 0.8), FAR, (7000, 0, 7100, 100))
    assert score("od_weighted_sum", found, gold(2))["total"] == pytest.approx(0.405)


def question() -> Sample:
    return Sample("q", "qa", "?", gold={"answer": "7", "kind": "number"})


def at_length(reward: str, n: int, text: str, finish: Any = "stop", **params: Any) -> float | None:
    row, task = question(), get_task("qa")
    group = Group(row, (Completion(text, (1,) * n, (0.0,) * n, finish),))
    mixture = parse_spec(reward, params)
    return score_components(mixture, group, [task.parse(text, row)], RewardContext())[reward][0]


RIGHT, WRONG = "<think>.</think><answer>7</answer>", "<think>.</think><answer>8</answer>"


@pytest.mark.parametrize(
    ("text", "n", "value"),
    [(RIGHT, 512, 0.75), (RIGHT, 1024, 0.5), (RIGHT, 2048, 0.5), (WRONG, 1024, -0.5), (WRONG, 512, -0.25)],
)
def test_cosine_length(text: str, n: int, value: float) -> None:
    assert at_length("cosine_length", n, text) == pytest.approx(value)


def test_other_lengths() -> None:
    assert at_length("overlong", 896, RIGHT) == pytest.approx(-0.5)
    assert [at_length("overlong", n, RIGHT) for n in (768, 1024, 4096)] == [0, -1, -1]
    assert at_length("length_penalty", 512, RIGHT) == pytest.approx(-0.5)
    assert [at_length("no_eos", 9, RIGHT, finish) for finish in ("length", "stop")] == [-1, 0]
    assert tokens(Completion("abcde", (), (), "stop")) == 2


def test_listener() -> None:
    text = "<think>Image 1 fits.</think>\n<answer>Image 1 is better</answer>"
    first = math.exp(2) / (math.exp(2) + 1)
    context = RewardContext(beliefs=(Belief(("1", "2"), (first, 1 - first), 1.0),))
    for p, total in ((1.0, 1.9404), (0.0, 1.0596)):
        row = Sample("p", "image_preference", "a 7", ("x", "y"), gold={"p_first": p})
        assert score("listener", text, row, context)["total"] == pytest.approx(total, abs=1e-4)
    assert weights(parse_spec("listener")) == {"format": 1, "accuracy": 0.5, "listener_belief": 0.5}
    assert first == pytest.approx(0.8808, abs=1e-4)


def test_grpo_advantages() -> None:
    assert group_advantages([2, 2, 1, 0]) == pytest.approx((0.783, 0.783, -0.261, -1.305), abs=1e-3)


def test_r1_reward() -> None:
    """0.5·format + accuracy·(1 + 0.5·consistency)."""
    text = "<think>.</think><answer>Answer 1 is better</answer>"
    row = Sample("r", "response_preference", "?", ("x",), responses=("a", "b"), gold={"p_first": 1.0})
    wrong = Sample("r", "response_preference", "?", ("x",), responses=("a", "b"), gold={"p_first": 0.0})
    agrees, objects = (RewardContext(beliefs=(Belief(("1", "2"), (p, 1 - p), 1.0),)) for p in (0.6, 0.4))
    assert score("r1_reward", text, row, agrees)["total"] == 2.0
    assert score("r1_reward", text, row, objects)["total"] == 1.5
    assert score("r1_reward", text, wrong, agrees)["total"] == 0.5
