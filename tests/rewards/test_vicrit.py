"""ViCrit: the phrase is paid with a word or two around it, the caption is not; the released scorer is looser."""

from __future__ import annotations

import pytest

from reasoner_rm.rewards import explain, score
from reasoner_rm.rewards.vicrit import first_difference, within, words
from reasoner_rm.schema import Sample

CAPTION = "A cat sleeps on a wooden chair, beside Joe’s “50% off” sign, while two birds watch from the window sill."


def sample(changed: str = "wooden chair", original: str = "plastic chair", caption: str = CAPTION) -> Sample:
    gold = {"changed": changed, "original": original, "type": "material"}
    return Sample("c", "caption_critic", caption, ("a.png",), gold=gold)


def paid(answer: str, row: Sample | None = None, name: str = "vicrit", **params: object) -> float | None:
    return score(name, f"<think>I look.</think>\\boxed{{{answer}}}", row or sample(), **params)["total"]


@pytest.mark.parametrize(
    "answer",
    ["wooden chair", "Wooden Chair.", "a wooden chair", "on a wooden chair", "wooden chair, beside", "“wooden chair”"]
    + ["a wooden chair, beside Joe’s", "wooden chair beside"],
)
def test_the_phrase_and_a_little_copy_around_it_are_right(answer: str) -> None:
    assert paid(answer) == 1


@pytest.mark.parametrize(
    "answer",
    ["chair", "wooden", "the wooden chair", "wooden chair wooden chair", "plastic chair", "woodenchair", CAPTION]
    + ["sleeps on a wooden chair, beside", "chair wooden", "a, wooden, chair, window", "wooden chair in front of"],
)
def test_parts_inventions_and_long_copies_are_not(answer: str) -> None:
    assert paid(answer) == 0


def test_a_short_caption_cannot_be_copied_whole() -> None:
    short = sample("red cube", "blue cube", "a red cube left")
    assert paid("red cube", short) == 1
    assert paid("a red cube left", short) == paid("a red cube", short) == 0
    assert paid("a red cube", short, max_share=0.75) == 1
    assert paid("wooden chair, beside", max_extra_words=0) == 0


def test_the_preset_is_the_papers_weighing() -> None:
    text = "<think>I look.</think>\\boxed{a wooden chair}"
    assert score("vicrit_rl", text, sample()) == {"vicrit": 1.0, "format": 1.0, "total": 1.0}
    assert score("vicrit_rl", text.replace("wooden", "green"), sample())["total"] == pytest.approx(0.1)
    assert score("vicrit_rl", "\\boxed{a wooden chair}", sample())["total"] == pytest.approx(0.9)


@pytest.mark.parametrize(
    ("original", "changed", "answer", "earned"),
    [
        ("plastic chair", "wooden chair", "wooden", 1),
        ("plastic chair", "wooden chair", "the wooden table", 1),
        ("plastic chair", "wooden chair", "chair", 0),
        ("a blue car", "a red car", "coloured", 1),  # "red" stands in it
        ("two big dogs", "two dogs", "two dogs", 1),  # a pure deletion: the original scorer crashes
        ("two big dogs", "two dogs", "two", 0),
    ],
)
def test_the_released_scorer(original: str, changed: str, answer: str, earned: float) -> None:
    row = sample(changed, original, f"There is {changed} in the picture.")
    assert paid(answer, row, "vicrit_released") == earned


def test_the_released_scorer_reads_what_follows_the_last_line_break_without_a_box() -> None:
    text = "Let me see.\nIt is the wooden one."
    assert score("vicrit_released", text, sample())["total"] == 1
    assert score("vicrit_released", text + "\n", sample())["total"] == 0
    assert score("vicrit", text, sample())["total"] == 0
    assert score("vicrit_released", "wooden?\nNo idea.", sample())["total"] == 0


def test_values_are_logged_by_the_kind_of_mistake() -> None:
    found = explain("vicrit", "<think>.</think>\\boxed{wooden chair}", sample())
    assert found.metrics == {"vicrit/material": 1.0}


def test_other_tasks_have_no_phrase() -> None:
    row = Sample("q", "qa", "What?", gold={"answer": "7", "kind": "number"})
    for name in ("vicrit", "vicrit_released"):
        assert score(name, "<think>.</think><answer>7</answer>", row)["total"] is None


def test_words_and_differences() -> None:
    assert words("Joe’s “50% off”, sign.") == ["joe's", "50%", "off", "sign"]
    assert (
        within([], ["a"]) is False and within(["a", "b"], ["x", "a", "b"]) and not within(["a", "b"], ["a", "x", "b"])
    )
    assert first_difference(["a", "a"], ["a"]) is None
    assert first_difference(["x"], ["a", "b"]) == "a"
