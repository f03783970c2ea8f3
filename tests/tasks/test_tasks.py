"""Tasks: right answers are read and paid, everything else is survived."""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from reasoner_rm.errors import InputError
from reasoner_rm.schema import ParsedCompletion, Sample
from reasoner_rm.tasks import TASKS, get_task
from reasoner_rm.tasks.parsing import boxes, parse
from reasoner_rm.tasks.qa import number
from reasoner_rm.tasks.render import load_template


def pair(gold: dict[str, Any] | None = None) -> Sample:
    return Sample(
        "p", "image_preference", "a red cube", ("a.png", "b.png"), gold={"p_first": 1.0} if gold is None else gold
    )


def scored(score: float, scale: tuple[float, float] | None = None) -> Sample:
    return Sample(
        "s", "pointwise", "a cube", ("a.png",), gold={"score": score}, meta={"scale": list(scale)} if scale else {}
    )


def question(answer: Any, kind: str, choices: list[Any] | None = None) -> Sample:
    meta = {"choices": choices} if choices is not None else {}
    return Sample("q", "qa", "Which?", ("a.png",), gold={"answer": answer, "kind": kind}, meta=meta)


def boxed(task: str, *boxes: tuple[float, float, float, float, str]) -> Sample:
    items = [{"bbox_2d": box[:4], "label": box[4]} for box in boxes]
    return Sample("b", task, "a red cube", ("a.png",), gold={"boxes": items})


VIDEOS = Sample("v", "video_preference", "a cube falls", videos=(("1.png", "2.png"), ("3.png",)), gold={"p_first": 0.0})
ANSWERS = Sample(
    "r", "response_preference", "What?", ("a.png",), responses=("a cube", "a ball"), gold={"ranks": [1, 2]}
)
EDITS = Sample("e", "edit_preference", "make it red", ("s.png", "a.png", "b.png"), gold={"p_first": 0.9})
PREFERENCES = (VIDEOS, ANSWERS, EDITS)
CAPTION = Sample(
    "c",
    "caption_critic",
    "A cat on a wooden chair, beside “Joe’s” sign.",
    ("a.png",),
    gold={"original": "plastic chair", "changed": "wooden chair", "type": "material"},
)
DETECTION, GROUNDING = (
    boxed("detection", (0, 0, 10, 10, "cube"), (5.5, 5, 20, 30, "a ball")),
    boxed("grounding", (1, 2, 30, 40, "cube")),
)
STEPS = Sample("t", "step_critique", "How many?", ("a.png",), responses=("I see 2.", "So 3."), gold={"steps": [1, 0]})
PAIR, SCORED, NUMBER = pair(), scored(4), question("7", "number")
CHOICE, TEXT = question("left", "choice", ["left", "right"]), question("a cat", "text")
EXAMPLES = (PAIR, *PREFERENCES, SCORED, NUMBER, CHOICE, TEXT, CAPTION, DETECTION, GROUNDING, STEPS)
examples = pytest.mark.parametrize("sample", EXAMPLES, ids=lambda s: f"{s.task}-{s.gold.get('kind', '')}")


def turn(answer: str, thought: str = "I look.", sample: Sample = PAIR) -> str:
    return f"<think>{thought}</think>\n{contained(answer, sample)}"


def contained(answer: str, sample: Sample) -> str:
    boxes = get_task(sample.task).container == "boxed"
    return f"\\boxed{{{answer}}}" if boxes else f"<answer>{answer}</answer>"


def read(text: str, sample: Sample = PAIR) -> ParsedCompletion:
    return get_task(sample.task).parse(text, sample)


# --- right answers ---


@pytest.mark.parametrize(
    ("sample", "option"),
    [
        (PAIR, 0),
        (pair({"p_first": 0.0}), 1),
        (pair({"p_first": 0.51}), 0),
        (pair({"ranks": [2, 1]}), 1),
        (SCORED, 3),
        (scored(2.25), 1),
        (scored(0, (0, 9)), 0),
        (scored(4.123456789), 3),
        (scored(1234567.5, (0, 1e7)), None),
        (scored(0.00001, (0, 1)), 0),
        (scored(-3, (-5, 5)), None),
        (NUMBER, None),
        (question("1,200.5", "number"), None),
        (question(3, "number", [1, 2, 3]), 2),
        (CHOICE, 0),
        (question("B.", "choice", ["A.", "B."]), 1),
        (TEXT, None),
        (question('"a" .', "text"), None),
        (question("the <think> tag", "text"), None),
        (question("</answer>", "choice", ["<answer>", "</answer>"]), 1),
        (VIDEOS, 1),
        (ANSWERS, 0),
        (EDITS, 0),
        (CAPTION, None),
        (DETECTION, None),
        (boxed("detection"), None),
        (boxed("detection", (1e-3, -2, 3, 1e6, 'a "</answer>" <|im_end|> \\boxed{')), None),
        (GROUNDING, None),
        (STEPS, None),
    ],
)
def test_the_canonical_answer_is_read_right_and_picks_its_option(sample: Sample, option: int | None) -> None:
    task = get_task(sample.task)
    task.validate(sample)
    canonical = task.reference_answer(sample)
    assert canonical is not None
    parsed = task.parse(turn(canonical, sample=sample), sample)
    assert parsed == ParsedCompletion("I look.", canonical, True)
    assert task.grade(canonical, sample) == 1
    assert task.option_index(canonical, sample) == option


@given(st.text(min_size=1))
@example("ﬁ")
@example('". a')
@example("ΐ\u0345")
def test_any_text_that_passes_the_check_can_be_answered(answer: str) -> None:
    sample, task = question(answer, "text"), get_task("qa")
    try:
        task.validate(sample)
    except InputError:
        return
    canonical = task.reference_answer(sample)
    assert canonical is not None
    parsed = task.parse(turn(canonical), sample)
    assert parsed.well_formed and parsed.answer is not None
    assert task.grade(parsed.answer, sample) == 1


@pytest.mark.parametrize(
    ("sample", "wrong"),
    [(PAIR, "Image 2 is better"), (NUMBER, "8"), (CHOICE, "right"), (CHOICE, "middle"), (TEXT, "a dog"), (SCORED, "9")]
    + [(VIDEOS, "Video 1 is better"), (VIDEOS, "Image 2 is better"), (ANSWERS, "Answer 2 is better")]
    + [(EDITS, "Image 2 is better"), (EDITS, "Image 3 is better"), (EDITS, "Source image is better")],
)
def test_wrong_answers_earn_nothing(sample: Sample, wrong: str) -> None:
    assert get_task(sample.task).grade(wrong, sample) == 0


def test_a_score_earns_by_its_distance() -> None:
    assert [get_task("pointwise").grade(a, SCORED) for a in ("4", "3", "1")] == [1, 0.75, 0.25]


def test_ties_have_no_right_answer() -> None:
    task = get_task("image_preference")
    for tie in (pair({"p_first": 0.5}), pair({"ranks": [1, 1]})):
        task.validate(tie)
        assert task.grade("Image 1 is better", tie) is None
        assert task.reference_answer(tie) is None
        assert task.gold_probs(tie) == (0.5, 0.5)


@examples
def test_without_gold_nothing_is_right_or_wrong(sample: Sample) -> None:
    blind, task = dataclasses.replace(sample, gold={}), get_task(sample.task)
    assert task.gold_probs(blind) is None
    assert task.reference_answer(blind) is None
    assert task.grade("3", blind) is None


# --- options ---


@examples
def test_gold_spreads_over_the_options_and_sums_to_one(sample: Sample) -> None:
    task = get_task(sample.task)
    probs, options = task.gold_probs(sample), task.options(sample)
    assert (probs is None) == (not options)
    if probs is not None:
        assert len(probs) == len(options) and sum(probs) == pytest.approx(1)


@given(st.data())
def test_fractional_scores_keep_their_mean(data: st.DataObject) -> None:
    low, high = sorted(data.draw(st.lists(st.integers(0, 9), min_size=2, max_size=2, unique=True)))
    score = data.draw(st.floats(low, high))
    sample, task = scored(score, (low, high)), get_task("pointwise")
    task.validate(sample)
    probs, options = task.gold_probs(sample), task.options(sample)
    assert probs is not None
    assert sum(probs) == pytest.approx(1)
    assert sum(p * int(o) for p, o in zip(probs, options, strict=True)) == pytest.approx(score)


@given(st.floats(0, 1))
def test_soft_preferences_sum_to_one(p: float) -> None:
    probs = get_task("image_preference").gold_probs(pair({"p_first": p}))
    assert probs is not None and sum(probs) == pytest.approx(1)


def test_gold_outside_the_options_has_no_probabilities() -> None:
    assert get_task("qa").gold_probs(question("up", "text", ["left", "right"])) is None


def test_options_follow_the_prefix_of_the_canonical_answer() -> None:
    for sample in (PAIR, pair({"p_first": 0}), *PREFERENCES, SCORED, CHOICE):
        task = get_task(sample.task)
        canonical = task.reference_answer(sample)
        assert canonical is not None
        right = task.options(sample)[task.option_index(canonical, sample) or 0]
        assert turn(canonical).partition("</think>\n")[2].startswith(task.answer_prefix + right)


# --- hostile completions ---

BLANKS = ("\u200b", "\ufeff\n", "\u202e", "\u00ad", "\u034f", "\u3164", "\u2800", "\x00", " \t")
"""Texts without ink."""
GOOD, OTHER = "Image 1 is better", "Image 2 is better"


@pytest.mark.parametrize(
    ("text", "answer", "parse_error"),
    [
        (turn(GOOD), GOOD, ""),
        (turn("  image 2 is BETTER. \n"), "image 2 is BETTER.", ""),
        ("\n " + turn(GOOD) + " \n", GOOD, ""),
        ("", None, "no <think>"),
        ("\x00\x00", None, "no <think>"),
        ("<think>", None, "no </think>"),
        (f"<answer>{GOOD}</answer>", GOOD, "no <think>"),
        (f"I see.<answer>{GOOD}</answer><think>late</think>", GOOD, "text before <think>"),
        (f"<think>x</think><answer>{GOOD}", None, "no </answer>"),
        (f"<think>x<answer>{GOOD}</answer>", GOOD, "no </think>"),
        (f"<think>x<answer>{GOOD}</answer></think>", GOOD, "<answer> before </think>"),
        (f"<think><answer>{GOOD}</answer></think><answer>{OTHER}</answer>", OTHER, "<answer> appears 2 times"),
        (f"<think>a<think>b</think></think><answer>{GOOD}</answer>", GOOD, "<think> appears 2 times"),
        (f"{turn(GOOD)}<answer>{OTHER}</answer>", OTHER, "<answer> appears 2 times"),
        (f"{turn(GOOD)}{turn(OTHER)}", OTHER, "<think> appears 2 times"),
        (f"{turn(GOOD)}<answer>no idea</answer>", None, "<answer> appears 2 times"),
        (f"{turn(GOOD)}<answer>{OTHER}", GOOD, "<answer> appears 2 times"),
        (f"{turn(GOOD)} So there.", GOOD, "text after </answer>"),
        (f"{turn(GOOD)}<|im_end|>", GOOD, "text after </answer>"),
        (f"<think>x</think> So: <answer>{GOOD}</answer>", GOOD, "text between </think> and <answer>"),
        (f"<answer>{GOOD}</answer>" + "<think>x</think>", GOOD, "text before <think>"),
        (f"<think>x</answer></think><answer>{GOOD}", None, "<answer> is not closed"),
        (turn(f"<answer>{GOOD}</answer>"), GOOD, "<answer> appears 2 times"),
        (turn(""), None, "empty answer"),
        *((turn(blank), None, "empty answer") for blank in BLANKS),
        *((f"<think>{blank}</think><answer>{GOOD}</answer>", GOOD, "empty <think>") for blank in BLANKS),
        (turn("Image 3 is better"), None, "unreadable answer"),
        (turn("Image 1 is better than Image 2"), None, "unreadable answer"),
        (turn("Image 1 is better\x00"), None, "unreadable answer"),
        (turn("Image 1 is better<|im_end|>"), None, "unreadable answer"),
        (turn("Image\u20601 is better"), None, "unreadable answer"),
        (turn("Image １ is better"), None, "unreadable answer"),
        (turn("Іmage 1 is better"), None, "unreadable answer"),  # a Cyrillic І
        (turn("ımage 1 is better"), None, "unreadable answer"),  # a dotless ı, which case folding takes for i
        (turn("Image 1 iſ better"), None, "unreadable answer"),
        (f"<think>x</think><answer\u2060>{GOOD}</answer>", None, "no <answer>"),
        (f"<think>x</think>＜answer＞{GOOD}＜/answer＞", None, "no <answer>"),
        (f"<THINK>x</THINK><answer>{GOOD}</answer>", GOOD, "no <think>"),
    ],
)
def test_hostile_verdicts(text: str, answer: str | None, parse_error: str) -> None:
    parsed = read(text)
    assert parsed.answer == answer
    assert parsed.parse_error.startswith(parse_error) and parsed.well_formed == (parse_error == "")


@pytest.mark.parametrize(
    ("text", "answer", "well_formed"),
    [
        (r"<think>x</think>\boxed{a}", "a", True),
        (r"<think>x</think>so \boxed{a{b}c}.", "a{b}c", True),
        (r"<think>x</think>\boxed{\frac{1}{2}}", r"\frac{1}{2}", True),
        (r"<think>x</think>\boxed{a}\boxed{b}", "b", False),
        (r"<think>\boxed{a}</think>\boxed{b}", "b", False),
        (r"<think>\boxed{a}</think>", "a", False),
        (r"<think>x</think>\boxed{a}\boxed{b", "a", False),
        (r"<think>x</think>\boxed{\boxed{a}}", r"\boxed{a}", True),
        (r"<think>{</think>\boxed{a}", "a", True),
        (r"<think>}</think>\boxed{a}", "a", True),
        (r"<think>x</think>\boxed{", None, False),
        (r"<think>x</think>\boxed{}", None, False),
    ],
)
def test_boxed_answers(text: str, answer: str | None, well_formed: bool) -> None:
    parsed = parse(text, "boxed", bool)
    assert (parsed.answer, parsed.well_formed) == (answer, well_formed)


MILLION = 10**6
HUGE: dict[str, str] = {
    "opened thoughts": "<think>" * (MILLION // 7),
    "closed thoughts": "</think>" * (MILLION // 8),
    "opened answers": "<think></think>" + "<answer>" * (MILLION // 8),
    "closed answers": "<think></think>" + "</answer>" * (MILLION // 9),
    "answers": turn(GOOD) + f"<answer>{GOOD}</answer>" * (MILLION // 34),
    "an unclosed thought": "<think>" + "a" * MILLION,
    "a long thought": turn(GOOD, "a" * MILLION),
    "an unclosed answer": "<think></think><answer>" + "a" * MILLION,
    "a long answer": turn("a" * MILLION),
    "space": " " * MILLION,
    "a spacious answer": turn("Image 1 is better" + " " * MILLION + "."),
    "digits": turn("9" * MILLION),
    "digits and a letter": turn("9" * MILLION + "x"),
    "thousands": turn("1" + ",000" * (MILLION // 4)),
    "thousands and a letter": turn("1" + ",000" * (MILLION // 4) + "x"),
    "decimals": turn("0." + "9" * MILLION + "x"),
    "stacked accents": turn("a" + "\u0301\u0316" * (MILLION // 2)),  # Unicode normalisation sorts them pairwise
    "full stops": turn("." * MILLION),
    "brackets": "<" * MILLION,
    "boxes": "\\boxed{" * (MILLION // 7),
    "closed boxes": "\\boxed{" * (MILLION // 8) + "}" * (MILLION // 8),
    "braces": "{" * (MILLION // 2) + "}" * (MILLION // 2),
    "nested lists": turn("[" * MILLION),
    "nested objects": turn('{"a":' * (MILLION // 5)),
    "a boxed million": "<think></think>\\boxed{" + "a" * MILLION + "}",
}


def seconds(work: Callable[[], object]) -> float:
    """Of the process, the least of three runs: on a busy machine others' time is counted as well."""
    runs = []
    for _ in range(3):
        began = time.process_time()
        work()
        runs.append(time.process_time() - began)
    return min(runs)


@pytest.mark.parametrize("name", HUGE)
@examples
def test_a_million_characters_are_read_at_once(sample: Sample, name: str) -> None:
    assert seconds(lambda: read(HUGE[name], sample)) < 0.1  # a tenth of it, on a machine with nothing else to do


@pytest.mark.parametrize("name", HUGE)
@examples
def test_a_million_characters_are_judged_at_once(sample: Sample, name: str) -> None:
    assert seconds(lambda: get_task(sample.task).grade(HUGE[name], sample)) < 0.1


@pytest.mark.parametrize("name", HUGE)
def test_a_million_characters_around_boxes_are_read_at_once(name: str) -> None:
    assert seconds(lambda: parse(HUGE[name], "boxed", bool)) < 0.1


TAGS = ("<think>", "</think>", "<answer>", "</answer>", "\\boxed{", "}", "{", "<|im_end|>", "\u2060", "\x00", "\ud800")
SAID = (GOOD, "4", "7", "left", "a cat", "1e400", "nan", "٤", "-0", "+5.", "１", "¹")
JSON = ("[", "]", "[]", "[1, 0]", "[0,", '{"bbox_2d": [0, 0, 9, 9], "label": "cube"}', '{"bbox_2d":', "```json", "NaN")
completions = st.text() | st.lists(st.sampled_from(TAGS + SAID + JSON) | st.text(max_size=3)).map("".join)


@given(completions, st.sampled_from(EXAMPLES))
def test_any_text_is_parsed_and_judged(text: str, sample: Sample) -> None:
    task = get_task(sample.task)
    parsed = task.parse(text, sample)
    assert parsed.well_formed == (parsed.parse_error == "")
    if parsed.well_formed:
        assert parsed.thinking is not None and parsed.answer is not None
    if parsed.answer is not None:
        assert task.parse_answer(parsed.answer, sample) is not None
        right = task.grade(parsed.answer, sample)
        assert right is not None and 0 <= right <= 1
    choice = task.option_index(text, sample)
    assert choice is None or 0 <= choice < len(task.options(sample))


@given(completions)
def test_any_text_has_readable_boxes(text: str) -> None:
    parsed = parse(text, "boxed", bool)
    assert not parsed.well_formed or parsed.answer
    ends = 0
    for content, start, end in boxes(text):
        assert start >= ends and text[start:end] == f"\\boxed{{{content}}}"
        ends = end


@given(st.lists(st.sampled_from([GOOD, OTHER, "no idea", "4", "7", "left"]), min_size=1), st.sampled_from(EXAMPLES))
def test_the_last_answer_counts(answers: list[str], sample: Sample) -> None:
    text = "<think>x</think>" + "".join(contained(a, sample) for a in answers)
    readable = get_task(sample.task).parse_answer(answers[-1], sample) is not None
    assert read(text, sample).answer == (answers[-1] if readable else None)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("7", 7),
        (" -12.50 ", -12.5),
        ("+3.", 3),
        ("1,200,000.5", 1200000.5),
        ("1" * 300, float("1" * 300)),
        ("1" * 301, None),
        ("1" + ",000" * 200, None),  # it would be infinite
        ("1e400", None),
        ("1e3", None),
        ("nan", None),
        ("inf", None),
        ("-inf", None),
        ("--1", None),
        ("١٢", None),
        ("１２", None),
        ("1²", None),
        ("−5", None),  # U+2212, no hyphen
        ("12,00", None),
        (",100", None),
        ("1_000", None),
        ("1 000", None),
        (".5", None),
        ("seven", None),
        ("7\x00", None),
        ("", None),
    ],
)
def test_numbers_are_plain_decimals(text: str, value: float | None) -> None:
    assert number(text) == value


@pytest.mark.parametrize("text", ["٤", "４", "4²", "4e0", "nan", "inf", "5.01", "0.99", "4,0", "--4", "4 of 5", "4/5"])
def test_scores_are_plain_decimals_on_the_scale(text: str) -> None:
    assert read(turn(text), SCORED).answer is None


# --- gold that cannot be used ---


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        (dataclasses.replace(PAIR, images=("a.png",)), "has 1 candidates"),
        (pair({}), 'add "p_first"'),
        (pair({"p_first": 1.5}), "p_first is 1.5"),
        (pair({"p_first": float("nan")}), "p_first is nan"),
        (pair({"p_first": "0.5"}), "p_first is '0.5'"),
        (pair({"p_first": None}), "p_first is None"),
        (pair({"ranks": [1]}), "gold.ranks"),
        (pair({"ranks": 1}), "gold.ranks"),
        (pair({"ranks": ["first", 2]}), "gold.ranks"),
        (pair({"ranks": [1, float("nan")]}), "gold.ranks"),
        (dataclasses.replace(VIDEOS, videos=(("1.png",),)), "has 1 candidates"),
        (dataclasses.replace(ANSWERS, responses=("a", "b", "c")), "has 3 candidates"),
        (dataclasses.replace(EDITS, images=("a.png", "b.png")), "has 1 candidates besides its 1 source image"),
        (dataclasses.replace(EDITS, images=()), "has 0 candidates beside"),
        (dataclasses.replace(SCORED, images=()), "pointwise needs 1"),
        (dataclasses.replace(SCORED, gold={}), 'add "score"'),
        (scored(7), "outside its scale 1 to 5"),
        (scored(float("nan")), "outside its scale"),
        (dataclasses.replace(SCORED, gold={"score": "4"}), "outside its scale"),
        (dataclasses.replace(SCORED, meta={"scale": "1-5"}), "meta.scale"),
        (dataclasses.replace(SCORED, meta={"scale": [5]}), "meta.scale"),
        (dataclasses.replace(SCORED, meta={"scale": 5}), "meta.scale"),
        (scored(4, (4, 4)), "meta.scale"),
        (scored(4, (5, 1)), "meta.scale"),
        (scored(4, (0, float("inf"))), "meta.scale"),
        (dataclasses.replace(NUMBER, gold={"kind": "number"}), 'add "answer"'),
        (question("7", "nummer"), "use choice, number, text"),
        (question("seven", "number"), "gold.answer 'seven'"),
        (question("", "text"), "gold.answer ''"),
        (question("?!", "text"), "gold.answer '?!'"),
        (question("up", "choice", ["left", "right"]), "meta.choices"),
        (question("a", "choice", ["A", "a.", "b"]), "meta.choices"),
        (question("a", "choice", ["a", "?"]), "meta.choices"),
        (dataclasses.replace(CHOICE, meta={"choices": "left"}), "meta.choices"),
        (dataclasses.replace(CHOICE, meta={}), "meta.choices"),
    ],
)
def test_unusable_gold_is_refused(sample: Sample, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        get_task(sample.task).validate(sample)


# --- the registry ---


def test_the_examples_cover_every_task() -> None:
    assert {s.task for s in EXAMPLES} == set(TASKS)


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("variant", ["default", "brief"])
def test_every_task_has_templates_that_ask_for_its_format(name: str, variant: str) -> None:
    text = load_template(name, variant).text
    tag = "<answer>" if TASKS[name].container == "answer" else "\\boxed{"
    assert "<think>" in text and tag in text and "{{ prompt }}" in text


def test_an_unknown_task_names_the_nearest() -> None:
    with pytest.raises(InputError, match="did you mean 'image_preference'"):
        get_task("image_prefrence")
    with pytest.raises(InputError, match=r"known: image_preference, video_preference, .*, step_critique"):
        get_task("xyz")
