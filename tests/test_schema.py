"""The records: what exchanging two candidates must carry along."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasoner_rm.schema import PAIRWISE_TASKS, Sample, swap_labels


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
    assert sample.swapped().swapped() == sample


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
        ("Image 1a, Image1, MyImage 1, 1 image", "Image 1a, Image1, MyImage 1, 1 image"),
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


def test_a_sample_is_its_own_group_unless_told_otherwise() -> None:
    assert Sample("a", "qa", "?").group_id == "a"
    assert Sample("a", "qa", "?", group_id="g").group_id == "g"
