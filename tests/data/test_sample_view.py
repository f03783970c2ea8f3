"""A card says what a sample asks, shows and holds for right, whatever its gold and meta look like."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from reasoner_rm.data.sample_view import in_text, view_sample
from reasoner_rm.report.samples import write_samples_page
from reasoner_rm.schema import Sample


def test_the_better_candidate_is_marked_and_the_source_is_not() -> None:
    made = view_sample(Sample("1", "edit_preference", "add a star", images=("s", "a", "b"), gold={"p_first": 0.2}))
    assert [(i.label, i.right) for i in made.items] == [("Source", None), ("Image 1", False), ("Image 2", True)]
    tie = view_sample(Sample("1", "image_preference", "a star", images=("a", "b"), gold={"p_first": 0.5}))
    assert [i.right for i in tie.items] == [None, None]
    ranked = view_sample(Sample("1", "response_preference", "?", responses=("a", "b"), gold={"ranks": [2, 1]}))
    assert [i.right for i in ranked.items] == [False, True]


def test_a_span_is_cut_out_and_a_wrong_one_ignored() -> None:
    made = view_sample(Sample("1", "caption_critic", "a red star", meta={"span": [2, 5]}))
    assert made.prompt == ("a ", "red", " star")
    assert view_sample(Sample("1", "caption_critic", "a red star", meta={"span": [2, 50]})).prompt == (
        "a red star",
        "",
        "",
    )


def test_reasoning_and_answer_are_told_apart() -> None:
    made = view_sample(Sample("1", "qa", "?", target="<think>Two and one.</think>\n<answer>3</answer>"))
    assert (made.thinking, made.answer) == ("Two and one.", "3")
    assert view_sample(Sample("1", "qa", "?", target="<answer>3</answer>")).thinking == ""


def test_a_caption_that_raters_did_not_see_is_shown_as_such(tmp_path: Path) -> None:
    meta = {"hidden_caption": "two red kites"}
    sample = Sample("1", "image_preference", "Which do you prefer?", ("a", "b"), gold={"p_first": 0.5}, meta=meta)
    assert "unseen    two red kites" in in_text(sample) and "gold      a tie" in in_text(sample)
    assert (
        "caption hidden from raters: two red kites"
        in write_samples_page([sample], 1, "x.jsonl", tmp_path / "page.html").read_text()
    )
    assert "gold      score 3.333" in in_text(Sample("2", "pointwise", "x", ("a",), gold={"score": 10 / 3}))


def test_only_readable_boxes_are_drawn() -> None:
    boxes = [{"bbox_2d": [1, 2, 3, 4], "label": "star"}, {"bbox_2d": [1, 2]}, "box", None]
    (item,) = view_sample(Sample("1", "detection", "star", images=("a",), gold={"boxes": boxes})).items
    assert item.boxes == (((1, 2, 3, 4), "star"),)


json = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@given(
    task=st.sampled_from(("image_preference", "edit_preference", "detection", "step_critique", "qa", "new")),
    gold=st.dictionaries(st.sampled_from(("p_first", "ranks", "boxes", "steps", "score", "answer", "type")), json),
    meta=st.dictionaries(st.sampled_from(("span", "difficulty", "corruption", "skill")), json),
)
def test_odd_gold_never_raises(task: str, gold: dict[str, object], meta: dict[str, object]) -> None:
    sample = Sample("1", task, "prompt", images=("a", "b"), responses=("c", "d"), gold=gold, meta=meta)
    assert "prompt" in in_text(sample)


def test_a_page_escapes_what_came_from_data_and_survives_a_missing_image(tmp_path: Path) -> None:
    sample = Sample("<b>", "qa", "<script>", images=("none.png",), target="<think><i></think>", gold={"answer": "<u>"})
    page = write_samples_page([sample], 1, "<s>.jsonl", tmp_path / "page.html").read_text()
    assert not [tag for tag in ("<script", "<i>", "<u>", "<s>", "<b>&lt;") if tag in page]
    assert "image missing" in page and "&lt;script&gt;" in page
