"""Metrics against counts by hand and scipy, and the votes of judge and evaluator."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from reasoner_rm.evaluation import evaluate
from reasoner_rm.evaluation.intervals import bootstrap
from reasoner_rm.rollout import GenerationRequest, RolloutEngine, SamplingParams
from reasoner_rm.sampling.tally import tally
from reasoner_rm.sampling.votes import Vote, collect_votes
from reasoner_rm.schema import Belief, Completion, Sample
from reasoner_rm.tasks import get_task
from reasoner_rm.tasks.render import load_template

SAMPLE = Sample("a", "image_preference", "a 7", images=("x", "y"), gold={"p_first": 1.0})


def text(choice: int | None) -> str:
    return (
        "garbage"
        if choice is None
        else f"<think>Image {choice + 1} fits.</think><answer>Image {choice + 1} is better</answer>"
    )


class Scripted(RolloutEngine):
    """An engine that answers from a list; it records what it was asked."""

    def __init__(self, choices: list[int | None]):
        self.choices, self.asked = iter(choices), []

    def generate(self, requests: list[GenerationRequest], sampling: SamplingParams) -> list[tuple[Completion, ...]]:
        self.asked += requests
        return [tuple(Completion(text(next(self.choices)), (1,), (0.0,), "stop") for _ in r.seeds) for r in requests]


def votes_of(choices: list[int | None], samples: list[Sample] | None = None, votes: int = 1) -> list[list[Vote]]:
    template = load_template("image_preference", "brief")
    return collect_votes(Scripted(choices), template, samples or [SAMPLE], votes=votes, sampling=SamplingParams())


def test_the_swapped_order_shows_the_images_the_other_way_round() -> None:
    engine = Scripted([0, 0])
    collect_votes(engine, load_template("image_preference", "brief"), [SAMPLE], sampling=SamplingParams())
    assert [r.prompt.images for r in engine.asked] == [("x", "y"), ("y", "x")]
    assert engine.asked[0].seeds != engine.asked[1].seeds


@pytest.mark.parametrize(
    ("choices", "preferred", "p_first", "consistent", "parsed"),
    [
        ([0, 1], 0, 1.0, True, True),  # the first image, in both orders
        ([1, 0], 1, 0.0, True, True),
        ([0, 0], None, 0.5, False, True),  # position decides: a tie
        ([0, None], 0, 1.0, False, True),
        ([None, None], None, None, False, False),
    ],
)
def test_verdicts_from_two_orders(
    choices: list, preferred: object, p_first: object, consistent: object, parsed: object
) -> None:
    verdict = tally(votes_of(choices)[0])
    assert (verdict.preferred, verdict.p_first, verdict.consistent, verdict.parsed) == (
        preferred,
        p_first,
        consistent,
        parsed,
    )


def test_reasoning_of_the_swapped_order_is_relabelled() -> None:
    assert tally(votes_of([None, 1])[0]).reasoning == "Image 1 fits."


def test_votes_are_counted_over_both_orders() -> None:
    verdict = tally(votes_of([0, 0, 1, 1, 1, 0], votes=3)[0])
    assert verdict.votes == (0, 0, 1, 0, 0, 1) and verdict.preferred == 0 and verdict.p_first == pytest.approx(4 / 6)


class Listener:
    """Gives its beliefs in order."""

    def __init__(self, first: list[float]):
        self.first = first

    def beliefs(self, samples: list[Sample], texts: list[list[str]]) -> list[tuple[Belief, ...]]:
        assert len(samples) == len(texts) == len(self.first)
        return [(Belief(("1", "2"), (p, 1 - p), 1.0),) for p in self.first]


def test_metrics_by_hand() -> None:
    samples = [
        Sample(f"s{i}", "image_preference", "c", images=("x", "y"), gold={"p_first": p})
        for i, p in enumerate((1.0, 0.0, 1.0, 0.5))
    ]
    engine = Scripted([0, 1, 0, 0, None, 1, 0, 1])
    listener = Listener([0.9, 0.2, 0.2, 0.9, 0.9, 0.6, 0.9, 0.1])
    template = load_template("image_preference", "brief")
    result = evaluate(engine, template, samples, listener=listener).metrics  # type: ignore[arg-type]
    # s0: right, right; s1 (gold 2): wrong given, right swapped; s2: unreadable, right; s3 is a tie
    assert result.accuracy == pytest.approx((1 + 0.5 + 0.5) / 3, abs=1e-4)
    assert result.consistency == pytest.approx(2 / 4)  # s0 and s3
    assert result.first_position == pytest.approx(4 / 7, abs=1e-4)
    assert result.well_formed == pytest.approx(7 / 8)
    # readable votes: 7; the listener differs on s1 given and on s2 swapped
    assert result.contradiction == pytest.approx(2 / 7, abs=1e-4)
    assert result.accuracy_agree == pytest.approx(3 / 3) and result.accuracy_disagree == pytest.approx(1 / 2)
    assert (result.n, result.ties) == (4, 1)


def test_bootstrap_agrees_with_scipy_when_groups_are_single() -> None:
    scores = np.random.default_rng(0).random(200)
    ours = bootstrap(scores.tolist(), [str(i) for i in range(200)], seed=1, rounds=5000)
    theirs = scipy.stats.bootstrap((scores,), np.mean, method="percentile", n_resamples=5000, rng=2).confidence_interval
    assert ours == pytest.approx((theirs.low, theirs.high), abs=0.006)


def test_bootstrap_over_groups_is_wider_than_over_rows() -> None:
    scores = [float(i % 10 < 5) for i in range(100)]
    groups = [str(i % 10) for i in range(100)]  # ten rows of a group are all right or all wrong
    low, high = bootstrap(scores, groups, seed=0)
    low1, high1 = bootstrap(scores, [str(i) for i in range(100)], seed=0)
    assert high - low > 2 * (high1 - low1)


def test_a_task_without_candidates_is_asked_once() -> None:
    sample = Sample("q", "qa", "2+2?", gold={"answer": "4", "kind": "number"})
    engine = Scripted([None])
    (row,) = collect_votes(engine, load_template("qa", "brief"), [sample], sampling=SamplingParams())
    assert [vote.order for vote in row] == ["given"] and get_task("qa").grade("4", sample) == 1.0
