"""The forms of one reward: format, accuracy, listener; sums of scores, lengths, repetition, guards."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from reasoner_rm.errors import InputError
from reasoner_rm.rewards import REWARDS, score
from reasoner_rm.rewards.format import has_layout
from reasoner_rm.rewards.listener_belief import apply_temperature
from reasoner_rm.rewards.scoring import score_components, score_groups
from reasoner_rm.rewards.spec import parse_spec
from reasoner_rm.rewards.unified_think import parse_scores
from reasoner_rm.rewards.vlm_r1 import greedy_pairs
from reasoner_rm.schema import Belief, Completion, Group, RewardContext, Sample
from reasoner_rm.tasks import get_task
from reasoner_rm.tasks.render import load_template, render


def pair(p_first: float = 1.0) -> Sample:
    return Sample("p", "image_preference", "a 7", ("x", "y"), gold={"p_first": p_first})


def turn(verdict: int = 1, thought: str = "I look.") -> str:
    return f"<think>{thought}</think>\n<answer>Image {verdict} is better</answer>"


def paid(name: str, text: str, row: Sample, context: RewardContext | None = None, **params: Any) -> float | None:
    return score(name, text, row, context, **params)["total"]


# --- the docstrings are the library's documentation ---


@pytest.mark.parametrize("name", REWARDS)
def test_every_reward_states_source_formula_example_and_range(name: str) -> None:
    doc = REWARDS[name].doc
    for part in ("Source: ", "Formula: ", "Example: ", "Range: "):
        assert doc.count(f"\n{part}") == 1, part
    assert REWARDS[name].source and REWARDS[name].range[0] < REWARDS[name].range[1]


# --- format ---


@pytest.mark.parametrize(
    ("text", "strict", "prefix", "search"),
    [
        (turn(), 1, 1, 1),
        (turn() + " so", 0, 1, 1),
        ("Well. " + turn(), 0, 0, 1),
        (turn() + turn(), 0, 1, 1),
        (turn() + "<answer>both</answer>", 0, 0, 0),  # the last answer cannot be read
        ("<answer>Image 1 is better</answer>", 0, 0, 0),
        (f"<answer>Image 1 is better</answer>{turn()}", 0, 0, 1),
        ("<think>x</think> so <answer>Image 1 is better</answer>", 0, 0, 0),
        ("<think>x<answer>Image 1 is better</answer>", 0, 0, 0),
        ("", 0, 0, 0),
    ],
)
def test_formats(text: str, strict: int, prefix: int, search: int) -> None:
    found = [paid("format", text, pair(), mode=mode) for mode in ("strict", "prefix", "search")]
    assert found == [strict, prefix, search]


def test_formats_with_a_box() -> None:
    row = Sample("c", "caption_critic", "a red car", ("x",), gold={"original": "blue car", "changed": "red car"})
    text = "<think>x</think> It is \\boxed{red car}."
    assert [paid("format", text, row, mode=m) for m in ("strict", "prefix", "search")] == [1, 1, 1]
    assert [paid("format", "So " + text, row, mode=m) for m in ("strict", "prefix", "search")] == [0, 0, 1]
    assert not has_layout("<think>\\boxed{a}</think>", "boxed", False)


# --- accuracy ---


def test_soft_labels_pay_their_share() -> None:
    assert [paid("accuracy", turn(v), pair(0.75), soft=True) for v in (1, 2)] == [0.75, 0.25]
    assert [paid("accuracy", turn(v), pair(0.75)) for v in (1, 2)] == [1, 0]
    assert paid("accuracy", "<answer>both</answer>", pair(0.75), soft=True) == 0


def test_ties() -> None:
    assert paid("accuracy", turn(), pair(0.5)) is None
    assert paid("accuracy", turn(), pair(0.5), ties="half") == 0.5
    assert paid("accuracy", "nothing", pair(0.5), ties="half") == 0
    assert paid("accuracy", turn(), pair(1.0), ties="half") == 1


def test_the_exact_words() -> None:
    loose = "<think>x</think><answer>image 1 is better.</answer>"
    assert [paid("accuracy", loose, pair(), exact=exact) for exact in (False, True)] == [1, 0]
    assert paid("unified_think", turn(), pair()) == 2


def test_the_hard_reward_pays_for_nothing_alone() -> None:
    assert [paid("hard", text, pair()) for text in (turn(), turn(2), turn() + " so")] == [1, 0, 0]
    assert paid("hard_format_result", turn(), pair(0.5)) is None


def test_the_released_form_reads_a_bare_verdict_and_the_first_answer() -> None:
    released = [
        paid("unified_think_released", text, pair())
        for text in ("Image 1 is better", turn(), turn() + turn(2), turn(2) + turn(1), "<answer>Image 1 is better")
    ]
    assert released == [1, 2, 2, 1, 0]


def test_normalised_equality() -> None:
    row = Sample("q", "qa", "?", gold={"answer": "Open Settings", "kind": "text"})
    for answer, value in (("open\nsettings.", 1), ("open  settings", 0), ("Open", 0), ("open settings " * 400, 0)):
        assert paid("all_match", f"<think>x</think><answer>{answer}</answer>", row) == value


def common(a: str, b: str) -> int:
    """The length of the longest common subsequence, by the textbook's table."""
    row = [0] * (len(b) + 1)
    for x in a:
        above, row = row, [0] * (len(b) + 1)
        for j, y in enumerate(b):
            row[j + 1] = above[j] + 1 if x == y else max(above[j + 1], row[j])
    return row[-1]


def test_likeness_is_the_textbooks() -> None:
    rng = random.Random(0)
    for _ in range(2000):
        gold, answer = ("".join(rng.choices("abc", k=rng.randint(1, 12))) for _ in range(2))
        row = Sample("q", "qa", "?", gold={"answer": gold, "kind": "text"})
        want = 2 * common(gold, answer) / (len(gold) + len(answer))
        assert paid("text_ratio", f"<think>x</think><answer>{answer}</answer>", row) == pytest.approx(want)
    row = Sample("q", "qa", "?", gold={"answer": "cats", "kind": "text"})
    for answer, value in (("Cat.", 6 / 7), ("", 0), ("c" * 5000, 0)):
        assert paid("text_ratio", f"<think>x</think><answer>{answer}</answer>", row) == pytest.approx(value)


# --- listener ---


def heard(first: float, spread: float = 0.0) -> RewardContext:
    return RewardContext(beliefs=(Belief(("1", "2"), (first, 1 - first), 0.9, spread),))


def test_whose_belief_pays_and_how() -> None:
    belief = heard(0.8)
    assert paid("listener_belief", turn(2), pair(), belief) == pytest.approx(0.8)
    assert paid("listener_belief", turn(2), pair(), belief, target="verdict") == pytest.approx(0.2)
    assert paid("listener_belief", turn(2), pair(), belief, hard=True) == 1
    assert paid("listener_belief", turn(2), pair(), belief, target="verdict", hard=True) == 0
    assert paid("listener_belief", turn(2), pair(), belief, gate="accuracy") == 0
    assert paid("listener_belief", turn(1), pair(), belief, gate="accuracy") == pytest.approx(0.8)
    assert paid("listener_belief", turn(1) + " so", pair(), belief) == 0
    assert paid("listener_belief", turn(1) + " so", pair(), belief, gate="none") == pytest.approx(0.8)
    assert paid("listener_belief", "<think>1</think>", pair(), belief, gate="none") == 0
    assert paid("listener_belief", turn(), pair(), heard(0.9), temperature=2.0) == pytest.approx(0.75)
    assert sum(apply_temperature((0.5, 0.3, 0.2), 0.1)) == pytest.approx(1)


def test_consistency_pays_right_verdicts_that_the_listener_comes_to() -> None:
    for verdict, first, value in ((1, 0.6, 1), (1, 0.4, 0), (2, 0.4, 0)):
        assert paid("consistency", turn(verdict), pair(), heard(first)) == value
    assert paid("consistency", turn(2), pair(), heard(0.4), gate="format") == 1
    assert paid("consistency", turn(), pair()) is None


def group_of(texts: list[str], row: Sample) -> tuple[Group, list[Any]]:
    group = Group(row, tuple(Completion(t, (), (), "stop") for t in texts))
    return group, [get_task(row.task).parse(t, row) for t in texts]


def test_beliefs_that_change_with_the_order_count_for_less() -> None:
    group, parsed = group_of([turn(), turn()], pair())
    beliefs = tuple(Belief(("1", "2"), (p, 1 - p), 1.0, spread) for p, spread in ((1.0, 0.0), (0.0, 1.0)))
    mixture = parse_spec("listener_belief", {"uncertainty": 1.0})
    found = score_components(mixture, group, parsed, RewardContext(beliefs=beliefs))["listener_belief"]
    assert found == (1.0, pytest.approx(0.5 - 0.5 * 0.36788, abs=1e-4))


def test_what_the_listener_is_watched_for() -> None:
    group, parsed = group_of([turn(1), turn(2), "nothing"], pair())
    beliefs = (*(Belief(("1", "2"), (0.8, 0.2), 0.7),) * 2, None)
    found = score_groups(parse_spec("listener_belief"), [(group, parsed, RewardContext(beliefs=beliefs))])[0]
    assert {name: list(values) for name, values in found["listener_belief"].metrics.items()} == {
        "listener/option_mass": [0.7, 0.7, None],
        "listener/agreement": [1, 0, None],
        "listener/contradiction": [0, 1, None],
        "listener/accuracy_agreeing": [1, None, None],
        "listener/accuracy_contradicted": [None, 0, None],
    }


# --- sums of scores ---

THOUGHT = """1. Semantic consistency: Image 2 (7/10) - plain; Image 1 (9/10) - all of it.
2. Aesthetics: Image 1 (8/10) - calm; Image 2 (8/10) - calm.
3. Authenticity: Image 1 (8/10) - fine; Image 2 (5/10) - six fingers.
4. Light: Image 1 (6/10) - flat; Image 2 (8/10) - warm.
Total score:
Image 1: 9+8+8+6=31
Image 2: 7+8+5+8=28"""


@pytest.mark.parametrize(
    ("thought", "verdict", "value"),
    [
        (THOUGHT, 1, 1),
        (THOUGHT, 2, 0.5),
        (THOUGHT.replace("=31", "=32"), 1, 0.5),
        (THOUGHT.replace("9+8+8+6=31", "31"), 1, 1),
        (THOUGHT.replace("9+8+8+6", "9+8+9+5"), 1, 0.5),  # adds up, but to other points
        (THOUGHT.replace("=31", "=20"), 2, 0.5),
        (THOUGHT.replace("=31", "=28"), 1, 0),
        (THOUGHT.split("Total")[0], 1, 0),
        (THOUGHT[THOUGHT.index("Total") :], 1, 0.5),  # totals without points
        ("I like it.", 1, 0),
    ],
)
def test_scores_add_up_and_the_greater_total_wins(thought: str, verdict: int, value: float) -> None:
    assert paid("score_arithmetic", turn(verdict, thought), pair()) == value


FRAMES = (("1.png", "2.png"), ("3.png",))


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (
            Sample("i", "image_preference", "a <think> cat", ("a", "b")),
            ("two images", "Aesthetics", "Image 2: x+x+x+x"),
        ),
        (Sample("v", "video_preference", "a cat", videos=FRAMES), ("two videos", "Temporal coherence", "Video 2: x+x")),
        (
            Sample("r", "response_preference", "What?", ("a",), responses=("a cat", "a dog")),
            ("about the image", "Answer 2: [a dog]", "Answer 2: x+x"),
        ),
        (
            Sample("s", "response_preference", "What?", videos=FRAMES[:1], responses=("a cat", "a dog")),
            ("about the video", "from beginning to end", "Question: [What?]"),
        ),
    ],
    ids=["image generation", "video generation", "image understanding", "video understanding"],
)
def test_the_four_prompts_ask_for_points_and_sums(row: Sample, said: tuple[str, ...]) -> None:
    text = "".join(map(str, render(row, load_template(row.task, "unified")).content))
    for part in (*said, "Total score:", "<think> and </think>", "is better` or `"):
        assert part in text
    assert "a <think> cat" not in text


def test_reading_scores() -> None:
    scores = parse_scores(THOUGHT, "Image")
    assert scores is not None and scores.points == ((9, 8, 8, 6), (7, 8, 5, 8)) == scores.sums and scores.adds_up
    assert parse_scores("Video 1: 7 Video 2: 8.5", "Video").totals == (7, 8.5)  # type: ignore[union-attr]
    assert parse_scores("Image 1: 31", "Image") is None and parse_scores("x" * 30_000, "Image") is None
    assert paid("score_arithmetic", turn(), Sample("q", "qa", "?", gold={"answer": "7", "kind": "number"})) is None


# --- lengths, repetition, guards ---


def test_repetition_counts_entries_or_runs_of_words() -> None:
    cube = {"bbox_2d": [0, 0, 9, 9], "label": "a"}
    row = Sample("b", "detection", "a", ("x",), gold={"boxes": [cube]})
    assert paid("repetition", f"<think>x</think><answer>{json.dumps([cube] * 4)}</answer>", row) == -0.75
    assert paid("repetition", "<think>a b c d e f g</think>", pair()) == 0
    assert paid("repetition", "<think> " + "a b c d e f " * 10, pair()) < -0.8  # type: ignore[operator]
    assert paid("repetition", "a b a b", pair(), words=2) == pytest.approx(-1 / 3)


def test_guards() -> None:
    for text, value in (("<think><|image_pad|>", -1), (turn(), 0), ("<|endoftext|>", 0)):
        assert paid("banned", text, pair()) == value
    assert paid("banned", "foo", pair(), banned=["foo"]) == -1
    stuck = "and so it goes on and on " * 10
    for text, value in ((stuck, -1), ("!" * 100, -1), ("-" * 99, 0), (turn(1, THOUGHT), 0), ("", 0), (" " * 500, 0)):
        assert paid("degenerate", text, pair()) == value
    row = Sample("q", "qa", "Is the sum 42, or more?", gold={"answer": "42", "kind": "number"})
    assert paid("leak", turn(), row) == -1
    for prompt in ("Is it 421?", "What is it?"):
        assert paid("leak", turn(), Sample("q", "qa", prompt, gold=row.gold)) == 0


def test_greedy_pairs_take_the_greatest_overlap_first() -> None:
    import numpy as np

    overlaps = np.array([[0.9, 0.8], [0.85, 0.1]])
    assert greedy_pairs(overlaps, 0.5) == [(0, 0, 0.9)]
    assert greedy_pairs(overlaps, 0.05) == [(0, 0, 0.9), (1, 1, 0.1)]
    assert greedy_pairs(np.zeros((0, 2)), 0.5) == []


# --- parameters ---


@pytest.mark.parametrize(
    ("name", "params", "message"),
    [
        ("format", {"mod": "strict"}, "reward format has no parameter 'mod'; did you mean 'mode'?"),
        ("rec_iou", {"mode": 1}, "has no parameter 'mode'; it has: hard"),
        ("od_map", {"hard": 1}, "it has: none"),
        ("format", {"mode": "lose"}, "reward format, mode: input should be 'strict', 'prefix' or 'search', got 'lose'"),
        ("cosine_length", {"longest": 0}, "greater than or equal to 1"),
        ("cosine_length", {"right": [2, 0.5]}, "less than or equal to 1"),
        ("box_recall", {"beginner": [1, 2]}, "reward box_recall, beginner"),
        ("vision_r1", {"hard": True}, "unknown parameter of vision_r1: 'hard'"),
        ("od_weighted_sum", {"position": 0.9}, "add up to more than 1"),
    ],
)
def test_wrong_parameters_are_refused_in_one_line(name: str, params: dict[str, Any], message: str) -> None:
    row = Sample("b", "detection", "a", ("x",), gold={"boxes": []})
    with pytest.raises(InputError) as error:
        score(name, "x", row, **params)
    assert message in str(error.value) and "\n" not in str(error.value)
