"""Mixtures: names, weights by step, normalisation apart, the Pareto front, the filter of groups, functions in files."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasoner_rm.config import load_config
from reasoner_rm.errors import InputError
from reasoner_rm.rewards import (
    PRESETS,
    decoupled_sum,
    has_variance,
    pareto_front,
    parse_spec,
    score,
    score_groups,
    weights,
)
from reasoner_rm.schema import Completion, Group, RewardContext, Sample
from reasoner_rm.tasks import get_task
from reasoner_rm.utils.user_code import load_from_file

ROW = Sample("q", "qa", "?", gold={"answer": "7", "kind": "number"})
TEXT = "<think>.</think><answer>7</answer>"


def test_presets_stand_in_mixtures_with_their_weights() -> None:
    assert weights(parse_spec({"listener": 2.0, "repetition": 0.1})) == {
        "format": 2.0, "accuracy": 1.0, "listener_belief": 1.0, "repetition": 0.1,
    }  # fmt: skip
    for name in PRESETS:
        assert all(weight > 0 for weight in weights(parse_spec(name)).values())


def test_settings_carry_parameters() -> None:
    mixture = parse_spec({"format": {"weight": 0.5, "mode": "search"}, "accuracy": {"soft": True}})
    assert weights(mixture) == {"format": 0.5, "accuracy": 1.0}
    assert score("format", TEXT + "!", ROW)["total"] == 0
    group_params = parse_spec("unified_think", {"mode": "strict"})
    assert weights(group_params) == {"format": 1.0, "accuracy": 1.0}
    assert score("unified_think", TEXT + "!", ROW, mode="strict") == {"format": 0.0, "accuracy": 1.0, "total": 1.0}


@pytest.mark.parametrize(
    ("step", "weight"), [(0, 1.0), (50, 1.0), (100, 1.0), (150, 0.75), (200, 0.5), (299, 0.5), (301, 0.0), (9999, 0.0)]
)
def test_weights_run_straight_between_steps(step: int, weight: float) -> None:
    mixture = parse_spec({"format": [[100, 1.0], [200, 0.5], [300, 0.5], [301, 0.0]]})
    assert weights(mixture, step)["format"] == pytest.approx(weight)


def test_a_preset_may_fade_too() -> None:
    mixture = parse_spec({"listener": [[0, 1.0], [100, 0.0]]})
    assert weights(mixture, 50) == {"format": 0.5, "accuracy": 0.25, "listener_belief": 0.25}


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({}, "no reward is given"),
        ({"listener": 1.0, "format": 1.0}, "reward format is given twice"),
        ({"format": "much"}, "the weight of format is 'much'; give a number, or points"),
        ({"format": True}, "the weight of format is True"),
        ({"format": float("nan")}, "the weight of format is nan"),
        ({"format": [[5, 1.0], [5, 2.0]]}, "increasing steps"),
        ({"format": []}, "the weight of format is []"),
        ({"format": [[1, 2, 3]]}, "the weight of format is"),
        ({"vision_r2": 1.0}, "unknown reward 'vision_r2'; did you mean 'vision_r1'?"),
    ],
)
def test_wrong_mixtures_are_refused_in_one_line(spec: Any, message: str) -> None:
    with pytest.raises(InputError) as error:
        parse_spec(spec)
    assert message in str(error.value)


# --- functions of one's own ---


def test_a_function_in_a_file_is_a_reward(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "def brief(group, parsed, context, *, most: int = 50):\n"
        "    return [float(len(c.text) <= most) for c in group.completions]\n"
        "brief.range = (0.0, 1.0)\n"
        "def wild(group, parsed, context, *, value: str = 'nan'):\n    return [float(value) if value else 'good']\n"
        "def alone(group, parsed, context):\n    return 1.0\n"
        "def odd(text):\n    return 1.0\n"
    )
    assert score(f"{file}:brief", TEXT, ROW)["total"] == 1
    assert score(f"{file}:brief", TEXT, ROW, most=3)["total"] == 0
    with pytest.raises(InputError, match="valid integer"):
        score(f"{file}:brief", TEXT, ROW, most="few")
    for value, said in (("nan", r"\[nan\]"), ("inf", r"\[inf\]"), ("", r"\['good'\]")):
        with pytest.raises(InputError, match=rf"wild returned {said} for sample '{ROW.id}'; return 1 values"):
            score(f"{file}:wild", TEXT, ROW, value=value)
    with pytest.raises(InputError, match=r"alone returned 1\.0 for sample"):
        score(f"{file}:alone", TEXT, ROW)
    with pytest.raises(InputError, match="takes 1 arguments instead of 3; write def name"):
        score(f"{file}:odd", TEXT, ROW)
    broken = tmp_path / "broken.py"
    broken.write_text("1 / 0")
    with pytest.raises(InputError, match=r"broken\.py: it does not run: ZeroDivisionError"):
        parse_spec(f"{broken}:f")
    with pytest.raises(InputError, match="no such file"):
        parse_spec(f"{tmp_path / 'none.py'}:f")


CASES = """
import math
import numpy as np
import torch
from reasoner_rm.rewards.base import RewardOutput
HONEST = [1, True, 0.5, None]
HUGE, SPANS = 10**400, [[(0, 2, np.float32(0.5))]] * 4
class Odd:
    def __repr__(self): raise RuntimeError
RETURNED = {
    "float32": np.array([0.0, 1.0, 0.5, 0.25], np.float32),
    "scalars": [np.float32(1), np.int64(1), np.bool_(True), None],
    "tensor": torch.tensor([0.0, 1.0, 0.5, 0.25], dtype=torch.bfloat16, requires_grad=True),
    "zero-d": [torch.tensor(1.0)] * 4,
    "python": HONEST,
    "metrics": RewardOutput(HONEST, SPANS, {"m": np.ones(4, np.float32)}),
    "huge": [HUGE] * 4,
    "unprintable": [10**5000] * 4,
    "nan": [math.nan, 1, 1, 1],
    "inf": [1, 1, 1, -math.inf],
    "text": [1, 1, 1, "0.5"],
    "all text": "1111",
    "bytes": bytes(4),
    "nested": [[1]] * 4,
    "table": np.ones((4, 1)),
    "short": np.ones(3),
    "odd": [Odd()] * 4,
    "float32 nan": np.array([0, 0, 0, np.nan], np.float32),
    "array of huge": np.array([HUGE, 0, 0, 0], object),
    "metric": RewardOutput(HONEST, (), {"m": [math.nan] * 4}),
    "metric size": RewardOutput(HONEST, (), {"m": [1.0]}),
    "span": RewardOutput(HONEST, [[(0, 2, math.inf)]] * 4),
    "no span": RewardOutput(HONEST, [[0.5]] * 4),
    "mapping": {1: 1, 2: 2, 3: 3, 4: 4},
}
def returned(group, parsed, context, *, case: str = ""): return RETURNED[case]
"""
REFUSED = {
    "huge": r"c\.py:returned returned \[10{60}",
    "unprintable": r"returned a list that cannot be printed \(ValueError\)",
    "nan": r"returned \[nan, 1", "inf": "-inf", "text": "'0.5'", "all text": "'1111'", "nested": r"\[\[1\]",
    "table": "array", "short": "array", "odd": r"a list that cannot be printed \(RuntimeError\)", "float32 nan": "nan",
    "array of huge": "returned array", "metric": r"returned, metric m, returned \[nan",
    "metric size": r"metric m, returned \[1\.0\]", "span": "spans, returned .*inf", "no span": "spans, returned",
    "mapping": r"\{1: 1", "bytes": "returned b'",
}  # fmt: skip


def test_what_a_users_reward_returned_is_plain_floats_or_refused_in_one_line(tmp_path: Path) -> None:
    """NumPy's and PyTorch's numbers are numbers; what is none is refused, with the names of reward and sample."""
    file = tmp_path / "c.py"
    file.write_text(CASES)
    group = Group(ROW, tuple(Completion(TEXT, (), (), "stop") for _ in range(4)))
    parsed = [get_task(ROW.task).parse(TEXT, ROW)] * 4
    for case in load_from_file(f"{file}:RETURNED"):
        mixture = parse_spec({f"{file}:returned": {"weight": 1.0, "case": case}})
        if case in REFUSED:
            with pytest.raises(InputError, match=rf"(?s)^reward .*{REFUSED[case]}.* for sample '{ROW.id}'; ") as caught:
                score_groups(mixture, [(group, parsed, RewardContext())])
            assert "\n" not in str(caught.value) and len(str(caught.value)) < 500, case
            continue
        (output,) = score_groups(mixture, [(group, parsed, RewardContext())])[0].values()
        given = [*output.values, *(v for row in output.spans for *_, v in row), *output.metrics.get("m", ())]
        assert all(v is None or type(v) is float for v in given), case
        json.dumps(output.values)  # the rollout log takes them


def test_files_are_named_relative_to_the_yaml(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(
        "grpo:\n  rewards: {mine.py:f: 1.0, format: {weight: 0.5, mode: prefix}}\n  scorers: {judge: 'mine.py:g'}\n"
    )
    grpo = load_config(tmp_path / "run.yaml").grpo
    assert grpo.rewards == {f"{tmp_path / 'mine.py'}:f": 1.0, "format": {"weight": 0.5, "mode": "prefix"}}
    assert grpo.scorers == {"judge": f"{tmp_path / 'mine.py'}:g"}


def test_the_docs_example_is_a_configuration(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "rewards.md").read_text(encoding="utf-8")
    (tmp_path / "run.yaml").write_text(text.partition("```yaml\n")[2].partition("```")[0])
    (tmp_path / "mine.py").write_text(
        "def brevity(group, parsed, context, *, most=300):\n    return [0.0] * len(parsed)\n"
    )
    grpo = load_config(tmp_path / "run.yaml").grpo
    mixture = parse_spec(grpo.rewards)
    assert weights(mixture, 100)["format"] == pytest.approx(0.55) and len(mixture) == 6
    assert grpo.lengths(150) == (8, 8192) and grpo.last_step == 200


# --- several rewards, one advantage ---


def test_normalised_apart_a_rare_reward_is_not_drowned() -> None:
    """GDPO's example: under the sum, (0, 2) and (1, 1) would be the same."""
    components = {"a": (0.0, 1.0, 1.0, 1.0), "b": (2.0, 1.0, 1.0, 1.0)}
    apart = decoupled_sum({"a": 1.0, "b": 1.0}, components)
    assert apart == pytest.approx((0, 0, 0, 0), abs=1e-3)
    uneven = decoupled_sum({"a": 1.0, "b": 1.0}, {"a": (0.0, 0.0, 1.0, 1.0), "b": (0.0, 0.0, 0.0, 1.0)})
    assert uneven[3] > uneven[2] > uneven[0] == uneven[1]
    want = [(v - 0.25) / (statistics.stdev([0, 0, 0, 1]) + 1e-4) for v in (0, 0, 0, 1)]
    assert decoupled_sum({"b": 2.0}, {"b": (0.0, 0.0, 0.0, 1.0)}) == pytest.approx([2 * w for w in want])
    assert decoupled_sum({"a": 1.0}, {"a": (1.0, None, 0.0)})[1] == pytest.approx(0)


values = st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=4, max_size=4)


@given(values, values, values)
def test_the_front_is_who_nobody_beats(a: list[float], b: list[float], c: list[float]) -> None:
    front = pareto_front({"a": 1.0, "b": 0.5, "c": -1.0}, {"a": tuple(a), "b": tuple(b), "c": tuple(c)})
    points = list(zip(a, b, [-v for v in c], strict=True))
    for i, mine in enumerate(points):
        beaten = any(all(o >= m for o, m in zip(other, mine, strict=True)) and other != mine for other in points)
        assert front[i] is not beaten
    assert any(front)


def test_the_front_ignores_what_has_no_weight_or_no_values() -> None:
    assert pareto_front({"a": 1.0, "b": 0.0}, {"a": (1.0, 0.0), "b": (0.0, 1.0)}) == (True, False)
    assert pareto_front({"a": 1.0, "b": 1.0}, {"a": (1.0, 0.0), "b": (None, None)}) == (True, False)


def test_the_filter_looks_at_accuracy_alone() -> None:
    """All wrong, while the listener's belief varies: a filter on the total would let it pass."""
    hidden = {"accuracy": (0.0, 0.0, 0.0), "listener_belief": (0.1, 0.5, 0.9)}
    assert not has_variance(hidden) and has_variance(hidden, "listener_belief")
    assert has_variance({"accuracy": (0.0, 1.0)}) and has_variance({"accuracy": (None, None)}) and has_variance({})
    assert not has_variance({"accuracy": (0.5, 0.5005)}) and has_variance({"accuracy": (0.5, 0.5005)}, epsilon=1e-4)
