"""The records: what exchanging two candidates must carry along."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasoner_rm.candidate_labels import swap_labels, swappable
from reasoner_rm.data.pairing import FIXED_ORDER, pair
from reasoner_rm.data.row import DatasetRow
from reasoner_rm.schema import PAIRWISE_TASKS, Sample


def media(task: str) -> dict[str, Any]:
    kind = PAIRWISE_TASKS[task]
    return {kind.media: (*("source.png" for _ in range(kind.shared)), "one", "two")}


def preference(task: str = "image_preference", **fields: Any) -> Sample:
    defaults = {"id": "s", "task": task, "prompt": "a red cube", "gold": {"p_first": 1.0}, "meta": {"order": [0, 1]}}
    return Sample(**{**defaults, **media(task), **fields})


@st.composite
def preferences(draw: st.DrawFn) -> Sample:
    task = draw(st.sampled_from(list(PAIRWISE_TASKS)))
    noun = PAIRWISE_TASKS[task].noun
    words = st.sampled_from(
        [f"{noun} 1", f"{noun.lower()} 2", f"{noun}s 1 and 2", f"{noun} 12", "fits", ",", "\n", "1"]
    )
    gold = st.one_of(
        # 64ths, so that 1 - p is exact: what is tested is the exchange, not rounding
        st.integers(0, 64).map(lambda n: {"p_first": n / 64}),
        st.sampled_from([{"ranks": [1, 2]}, {"ranks": [2, 1]}, {"ranks": [1, 1]}]),
    )
    return preference(
        task,
        gold=draw(gold),
        meta={"order": draw(st.sampled_from([[0, 1], [1, 0]])), "note": draw(st.text())},
        target=draw(st.none() | st.lists(words).map(" ".join) | st.text()),
    )


@given(preferences())
def test_swapping_twice_changes_nothing(sample: Sample) -> None:
    twice = sample.swapped().swapped()
    noun = PAIRWISE_TASKS[sample.task].noun
    assert twice == (sample if swappable(sample.target or "", noun) else replace(sample, target=None))


@given(preferences())
def test_swapping_exchanges_media_gold_and_order_together(sample: Sample) -> None:
    swapped, kind = sample.swapped(), PAIRWISE_TASKS[sample.task]
    before, after = getattr(sample, kind.media), getattr(swapped, kind.media)
    assert after[: kind.shared] == before[: kind.shared]
    assert after[kind.shared :] == before[kind.shared :][::-1]
    assert swapped.meta["order"] == sample.meta["order"][::-1]
    assert swapped.meta["note"] == sample.meta["note"]
    if "ranks" in sample.gold:
        assert swapped.gold["ranks"] == sample.gold["ranks"][::-1]
    else:
        assert swapped.gold["p_first"] == 1 - sample.gold["p_first"]


def test_swapping_rewrites_the_target() -> None:
    target = "<think>Image 1 shows a 7. Image 2 shows a 3.</think>\n<answer>Image 1 is better</answer>"
    expected = "<think>Image 2 shows a 7. Image 1 shows a 3.</think>\n<answer>Image 2 is better</answer>"
    assert preference(target=target).swapped().target == expected


def test_swapping_leaves_the_original_alone() -> None:
    sample = preference(gold={"ranks": [1, 2]})
    sample.swapped()
    assert sample.gold == {"ranks": [1, 2]} and sample.meta == {"order": [0, 1]}


def test_an_unstated_order_is_the_given_one() -> None:
    assert preference(meta={}).swapped().meta["order"] == [1, 0]


@given(st.floats(0, 1))
def test_swapping_twice_costs_no_more_than_rounding(p: float) -> None:
    assert preference(gold={"p_first": p}).swapped().swapped().gold["p_first"] == pytest.approx(p, abs=1e-15)


def test_what_compares_nothing_cannot_be_swapped() -> None:
    with pytest.raises(ValueError, match="'qa' has no candidates to swap"):
        Sample("q", "qa", "How many?").swapped()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Image 1 is better", "Image 2 is better"),
        ("image 1, IMAGE 2.", "image 2, IMAGE 1."),
        ("Image 12 and Image 21 beat Image 1", "Image 12 and Image 21 beat Image 2"),
        ("**Image 1**'s sky, Image\n2: dull", "**Image 2**'s sky, Image\n1: dull"),
        ("Image 1a, MyImage 1, 1 image", "Image 1a, MyImage 1, 1 image"),
        ("Image1, image #2, image_1, Image (2)", "Image2, image #1, image_2, Image (1)"),
        ("image 1/2 and Images 1-2", "image 2/1 and Images 2-1"),
        (
            "Image A, image B, Images A and B, an image a child drew",
            "Image B, image A, Images B and A, an image a child drew",
        ),
        ("image one, Image Two", "image two, Image One"),
        (
            "The first image, the 2nd image, the SECOND red picture",
            "The second image, the 1st image, the FIRST red picture",
        ),
        ("the first and second images", "the second and first images"),
        ("First, look at picture 1. Second, at option B.", "First, look at picture 2. Second, at option A."),
        ("Image 1, 2 circles; image 1.5", "Image 2, 2 circles; image 1.5"),
        ("Images 1 and 2 show a 7 and a 3", "Images 2 and 1 show a 7 and a 3"),  # else the sentence turns false
        ("Images 2, 1; images 1 & 2", "Images 1, 2; images 2 & 1"),
        ("Images 1 and 12", "Images 1 and 12"),
        ("3 cats in Image 1 and 2 in Image 2", "3 cats in Image 2 and 2 in Image 1"),  # here "and 2" counts cats
        ("Answer 1 is better", "Answer 1 is better"),
        ("", ""),
    ],
)
def test_labels_are_exchanged_and_nothing_else(text: str, expected: str) -> None:
    assert swap_labels(text, "Image") == expected


@given(st.lists(st.sampled_from((
    "Image 1", "image #2", "Images 1 and 2", "image 1/2", "Image A", "first image", "1st picture", "photo two", "the",
    "second", "circle", "a", ".", ",", "and", "Option B", "2 dots",
))).map(" ".join))  # fmt: skip
def test_labels_exchanged_twice_are_what_they_were(text: str) -> None:
    assert swap_labels(swap_labels(text, "Image"), "Image") == text
    assert swappable(swap_labels(text, "Image"), "Image") == swappable(text, "Image")


@pytest.mark.parametrize("text", [
    "The first image shows a red box, the second a wall.", "Left image: red box. Image #1 fits.",
    "the picture on the right is sharper", "The left one is better.", "The first is red; the second is blue.",
    "Image 3 is best", "Images C and D", "#1 wins", "A is better than image 2", "image a is sharp", "image II",
])  # fmt: skip
def test_references_that_are_no_labels_are_found(text: str) -> None:
    target = f"<think>{text}</think>\n<answer>Image 1 is better</answer>"
    assert not swappable(target, "Image") and preference(target=target).swapped().target is None
    row = DatasetRow({}, "r", 0, None, 0, "s", {})  # type: ignore[arg-type]
    orders = set()
    for seed in range(8):
        made = pair(replace(row, seed=seed), "image_preference", "x", ("a", "b"), 1.0, target=target)
        orders.add(tuple(made.meta["order"]))
        assert made.meta[FIXED_ORDER] and made.target == target and made.gold == {"p_first": 1.0}
    assert orders == {(0, 1)}


def test_a_sample_is_its_own_group_unless_told_otherwise() -> None:
    assert Sample("a", "qa", "?").group_id == "a"
    assert Sample("a", "qa", "?", group_id="g").group_id == "g"
