"""Where rejection sampling sends a row, by its pass rate."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from reasoner_rm.config import RejectionSamplingSection
from reasoner_rm.rollout import GenerationRequest, RolloutEngine, SamplingParams
from reasoner_rm.sampling.rejection_sampling import route, split_by_pass_rate
from reasoner_rm.schema import Completion, Sample
from reasoner_rm.tasks.render import load_template

RIGHT = "<think>Image 1 fits.</think><answer>Image 1 is better</answer>"
WRONG = RIGHT.replace("1", "2")


class Scripted(RolloutEngine):
    """Answers each request with the next list of (text, mean log-probability)."""

    def __init__(self, rows: Sequence[Sequence[tuple[str, float]]]):
        self.rows = iter(rows)

    def generate(self, requests: Sequence[GenerationRequest], sampling: SamplingParams) -> list[tuple[Completion, ...]]:
        return [tuple(Completion(t, (1,), (p,), "stop") for t, p in next(self.rows)) for _ in requests]


def sample(name: str, p_first: float = 1.0) -> Sample:
    return Sample(name, "image_preference", "c", images=("x", "y"), gold={"p_first": p_first}, target="old")


@pytest.mark.parametrize(
    ("rate", "settings", "expected"),
    [
        (1.0, {}, (True, False)),
        (0.75, {}, (True, False)),
        (0.75, {"route_solved": "both"}, (True, True)),
        (0.5, {}, (True, True)),
        (0.5, {"route_rest": "rl"}, (False, True)),
        (0.5, {"route_rest": "sft"}, (True, False)),
        (0.5, {"route_rest": "neither"}, (False, False)),
        (0.25, {}, (False, True)),
        (0.0, {"route_rest": "neither"}, (False, True)),
    ],
)
def test_where(rate: float, settings: dict[str, str], expected: tuple[bool, bool]) -> None:
    assert route(rate, RejectionSamplingSection(**settings)) == expected  # type: ignore[arg-type]


def test_rows_are_split_and_the_best_well_formed_completion_becomes_the_target() -> None:
    best = RIGHT.replace("fits", "really fits")
    rows = [
        [(RIGHT, -2.0), (best, -1.0), (RIGHT + " tail", -0.1), (RIGHT, -3.0)],  # easy; the surest is malformed
        [(WRONG, -1.0), (WRONG, -1.0), ("?", -1.0), (WRONG, -1.0)],  # hard
        [(RIGHT, -1.0)] * 4,  # a tie in the gold
    ]
    samples = [sample("easy"), sample("hard"), sample("tie", 0.5)]
    found = split_by_pass_rate(
        Scripted(rows), load_template("image_preference", "brief"), samples, RejectionSamplingSection(), seed=0
    )
    assert [(s.id, s.target) for s in found.sft] == [("easy", best)]
    assert [(s.id, s.target) for s in found.rl] == [("hard", None)]
    assert found.ties == 1 and found.pass_rates == (1.0, 0.0)


def test_in_both_orders_a_taste_for_one_position_is_no_knowledge() -> None:
    rows = [
        *[[(RIGHT, -2.0), (RIGHT, -1.0)], [(WRONG, -3.0), (WRONG, -1.0)]],  # the same image, wherever it stands
        *[[(RIGHT, -1.0), (RIGHT, -1.0)], [(RIGHT, -1.0), (RIGHT, -1.0)]],  # the first, whatever it shows
    ]
    section = RejectionSamplingSection(num_samples=2, both_orders=True, route_rest="rl", route_solved="both")
    samples = [sample("knows"), sample("guesses")]
    found = split_by_pass_rate(Scripted(rows), load_template("image_preference", "brief"), samples, section, seed=0)
    assert [(s.images, s.gold["p_first"], s.target) for s in found.sft] == [
        (("x", "y"), 1.0, RIGHT),
        (("y", "x"), 0.0, WRONG),
    ]
    assert found.pass_rates == (1.0, 0.5)
    assert [s.id for s in found.rl] == ["knows", "guesses"]
    assert found.rl[0].images == ("x", "y")
