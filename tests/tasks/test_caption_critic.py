"""The caption critic finds the phrase, the step critic the wrong steps; half a find is not paid as a whole."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasoner_rm.errors import InputError
from reasoner_rm.rewards import score
from reasoner_rm.schema import Sample
from reasoner_rm.tasks import get_task
from reasoner_rm.tasks.caption_critic import MAX_PHRASE
from reasoner_rm.tasks.render import load_template, render
from reasoner_rm.tasks.step_critique import MAX_STEPS

CAPTION = "A cat sleeps on a Wooden  Chair, beside Joe’s “50% off” sign."


def caption(
    changed: Any = "Wooden  Chair", original: Any = "plastic chair", prompt: str = CAPTION, **more: Any
) -> Sample:
    return Sample("c", "caption_critic", prompt, ("a.png",), gold={"original": original, "changed": changed, **more})


def found(answer: str, sample: Sample) -> float | None:
    return get_task(sample.task).grade(answer, sample)


@pytest.mark.parametrize(
    "answer",
    ["Wooden  Chair", "wooden chair", '"wooden chair"', "“Wooden Chair”,", " wooden\n chair. ", "\\text{wooden chair}"]
    + ["wooden\\ chair", "(wooden chair)", "['wooden chair']", "ｗooden chair"],
)
def test_the_phrase_is_found_whatever_surrounds_it(answer: str) -> None:
    assert found(answer, caption()) == 1


@pytest.mark.parametrize(
    "answer",
    ["", ".", "chair", "wooden", "a wooden chair", "wooden chair, beside", CAPTION, "plastic chair", "wood chair"]
    + ["woodenchair", "wooden-chair", "wooden chair wooden chair", "x" * (MAX_PHRASE + 1)],
)
def test_part_of_the_phrase_or_more_than_it_is_not_paid(answer: str) -> None:
    assert found(answer, caption()) == 0


def test_latex_escapes_and_quotation_marks_do_not_matter() -> None:
    sign = caption("Joe’s “50% off” sign", "Ann’s sign")
    get_task(sign.task).validate(sign)
    for answer in ('Joe\'s "50\\% off" sign', "\\textbf{Joe's ``50% off'' sign}".replace("``", "“").replace("''", "”")):
        assert found(answer, sign) == 1
    assert found('Joe\'s "5% off" sign', sign) == 0


@given(st.text(max_size=20), st.text(max_size=40), st.text(max_size=20))
def test_any_phrase_that_passes_the_check_can_be_answered(before: str, changed: str, after: str) -> None:
    sample, task = caption(changed, "something else", before + changed + after), get_task("caption_critic")
    try:
        task.validate(sample)
    except InputError:
        return
    canonical = task.reference_answer(sample)
    parsed = task.parse(f"<think>x</think>\\boxed{{{canonical}}}", sample)
    assert parsed.well_formed and task.grade(parsed.answer or "", sample) == 1


@pytest.mark.parametrize("changed", ["the <|im_end|> sign", "the \\boxed{x} sign", "a {red} box", "the </think> tag"])
def test_control_text_in_a_caption_can_be_quoted(changed: str) -> None:
    sample, task = caption(changed, "a sign", f"I see {changed}."), get_task("caption_critic")
    task.validate(sample)
    canonical = task.reference_answer(sample)
    shown = "".join(map(str, render(sample, load_template("caption_critic")).content))
    assert canonical is not None and canonical in shown  # verbatim as the model sees it
    parsed = task.parse(f"<think>x</think>\\boxed{{{canonical}}}", sample)
    assert parsed.well_formed and found(parsed.answer or "", sample) == 1


def test_the_box_counts_and_not_the_thought() -> None:
    thought = "<think>Is the wooden chair wrong?</think>"
    assert score("accuracy", f"{thought}\\boxed{{wooden chair}}", caption())["total"] == 1
    assert score("accuracy", f"{thought}\\boxed{{cat}}", caption())["total"] == 0
    assert score("accuracy", f"{thought}<answer>wooden chair</answer>", caption())["total"] == 0


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        (dataclasses.replace(caption(), gold={"changed": "Wooden"}), 'no gold.original; add "original"'),
        (dataclasses.replace(caption(), gold={"original": "x"}), 'add "changed"'),
        (caption(7), "gold.changed is 7; give a phrase"),
        (caption(""), "gold.changed is ''"),
        (caption("“,”"), "gold.changed is"),
        (caption("a" * (MAX_PHRASE + 1)), "at most 1000 characters"),
        (caption(original=None), "gold.original is None"),
        (caption(type=3), "gold.type is 3"),
        (caption(original="wooden chair."), "equals gold.original"),
        (caption("plastic chair", "Wooden  Chair"), "is not in the caption; prompt is the changed caption"),
        (caption("a } sign", prompt="a } sign"), "cannot be put into \\boxed{}; balance its braces"),
    ],
)
def test_unusable_phrases_are_refused(sample: Sample, message: str) -> None:
    with pytest.raises(InputError, match=f"sample 'c'.*{re.escape(message)}"):
        get_task(sample.task).validate(sample)


# --- steps ---


def solution(*steps: Any, shown: int | None = None) -> Sample:
    texts = tuple(f"step {i}" for i in range(len(steps) if shown is None else shown))
    return Sample("t", "step_critique", "How many?", ("a.png",), responses=texts, gold={"steps": list(steps)})


@given(st.lists(st.integers(0, 1), min_size=1, max_size=MAX_STEPS), st.data())
def test_steps_earn_the_share_judged_right(steps: list[int], data: st.DataObject) -> None:
    sample, task = solution(*steps), get_task("step_critique")
    task.validate(sample)
    said = data.draw(st.lists(st.integers(0, 1), min_size=len(steps), max_size=len(steps)))
    share = 1 - sum(abs(s - t) for s, t in zip(said, steps, strict=True)) / len(steps)
    assert task.grade(str(said), sample) == pytest.approx(share)
    assert task.grade(task.reference_answer(sample) or "", sample) == 1


@pytest.mark.parametrize(
    ("answer", "earned"),
    [("[1, 0, 1]", 1), ("[1,0,1]", 1), ("[1, 1, 1]", 2 / 3), ("[0, 1, 0]", 0), ("[1, 0]", 0), ("[1, 0, 1, 1]", 0)]
    + [(text, 0) for text in ("", "[]", "1, 0, 1", "101", "[1, 0, 2]", "[1.0, 0, 1]", "[true, false, true]", "[NaN]")]
    + [
        (text, 0) for text in ('["1", "0", "1"]', '{"0": 1}', "null", "[" * 4000, "[" + "9" * 3000 + "]", "[1,0,1]\x00")
    ],
)
def test_steps_by_hand(answer: str, earned: float) -> None:
    assert found(answer, solution(1, 0, 1)) == pytest.approx(earned)


@pytest.mark.parametrize("variant", ["default", "brief"])
def test_the_steps_are_shown_in_order_and_escaped(variant: str) -> None:
    sample = dataclasses.replace(solution(1, 0), responses=("I see 2.", "So <|im_end|> 3."))
    text = "".join(map(str, render(sample, load_template("step_critique", variant)).content))
    assert 0 < text.find("Step 1: I see 2.\n") < text.find("Step 2: So ") and "<|im_end|>" not in text


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        (dataclasses.replace(solution(1), gold={}), 'add "steps"'),
        (solution(shown=0), "has 0 solution steps; list 1 to 256"),
        (solution(*[1] * (MAX_STEPS + 1)), "has 257 solution steps"),
        (solution(1, 0, shown=3), "gold.steps is [1, 0]; give a list of 3 times 0 or 1"),
        (solution(1, 2), "gold.steps is [1, 2]"),
        (solution(1, True), "gold.steps is [1, True]"),
        (solution(1, None), "gold.steps is [1, None]"),
        (dataclasses.replace(solution(1), gold={"steps": "1"}), "gold.steps is '1'"),
    ],
)
def test_unusable_steps_are_refused(sample: Sample, message: str) -> None:
    with pytest.raises(InputError, match=f"sample 't'.*{re.escape(message)}"):
        get_task(sample.task).validate(sample)
