"""What released code of the systems computed (`vectors/README.md`) against this project's rewards, readers, protocols,
losses: every case agrees, except where a difference is stated below with its reason."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from released_vectors import FOLDER, FUNCTIONS, Case, cases, compared

Applies = Callable[[Case], bool]


@dataclass(frozen=True, slots=True)
class Difference:
    """Cases in which this project differs on purpose, and why."""

    reason: str
    applies: Applies


def kinds(*names: str) -> Applies:
    """Cases of these kinds, also on images without objects."""
    return lambda case: case.kind.removesuffix(", no object").removeprefix("odd ") in names


def not_one_box(case: Case) -> bool:
    """Whether a text does not give one box of whole numbers, as JSON in its only answer, more than a pixel wide."""
    text = case.input["text"]
    answers = re.findall(r"<answer>(.*?)</answer>", text, re.DOTALL)
    try:
        (answer,) = answers
        value = json.loads(answer.strip().removeprefix("```json").removesuffix("```"))
        (box,) = value if isinstance(value, list) else [value]
        x1, y1, x2, y2 = box["bbox_2d"]
    except (ValueError, TypeError, KeyError):
        return True
    written = re.search(r"\[\d+(, *\d+){3}\]", text) is not None
    return not written or x2 - x1 < 2 or y2 - y1 < 2


def no_thought(case: Case) -> bool:
    return "<think></think>" in case.input["text"]


def either(*rules: Applies) -> Applies:
    return lambda case: any(rule(case) for rule in rules)


NUMBER = "a verdict that is neither 1 nor 2 names no answer: it is unreadable, not right"
FORMAT = "a thought and a readable answer are due, once each; white space around and between them does not matter"
ENTRIES = (
    "an answer is one JSON list of boxes, bare or in any fence; a part of it that is no box makes it unreadable, while "
    "the released code skips what it cannot read, and takes no box at all for a right answer where there is no object"
)
LABELS = "labels are compared without case, width, outer white space and stops"
WHOLE = "a text without an answer element has no answer; the released code compares the whole text"
READING = [
    Difference(
        ENTRIES,
        kinds(
            "five numbers", "three numbers", "string coordinate", "boolean coordinate", "two boxes one label", "huge",
            "zero area", "reversed box", "null entry", "text entry", "label null", "no label", "one object, no list",
            "no fence", "plain fence", "fence with capitals", "space in fence", "two fences", "prose around", "prose",
            "single quotes", "trailing comma", "broken", "unfinished", "open fence", "no answer", "empty text",
            "nested", "fence in thought", "answer twice",
        ),
    ),
    Difference(LABELS, kinds("label case", "label space", "label stop", "wide letters")),
]  # fmt: skip

DIFFERENCES: dict[str, list[Difference]] = {
    "vl_rewardbench_cal": [Difference(NUMBER, kinds("other numbers"))],
    "vl_rewardbench_verdict": [Difference(NUMBER, kinds("another number"))],
    "r1_reward_format": [Difference(FORMAT, kinds("one answer", "one answer, no thought first", "several answers"))],
    "mm_rlhf_rewardbench": [
        Difference(
            "a path that names two categories belongs to the first, in Acc+ too, where the released script divides "
            "each of them by it",
            kinds("two words in a path"),
        )
    ],
    "mj_bench_rating": [
        Difference("a text without a number is read on the narrative scale", kinds("a narrative word too"))
    ],
    "editreward_strict": [
        Difference(
            "equal scores are no order; numpy's order of them makes the later edit the better one",
            kinds("equal scores"),
        )
    ],
    "vision_r1_recall_by_step": [
        Difference("as the paper has it, a share of ξ2 counts 1; in the code one above ξ2", kinds("exactly 0.75"))
    ],
    "vlm_r1_od_map": READING,
    "vlm_r1_od_map50": READING,
    "vlm_r1_od_length": READING,
    "vlm_r1_od_weighted_sum": [
        *READING,
        Difference(
            "an empty list is a right answer where there is no object, as for the other three; there the released code "
            "asks for `None`",
            kinds("plain, nothing found", "empty list"),
        ),
    ],
    "vlm_r1_cosine_length": [
        Difference("the length is clamped at the longest; the released cosine rises again", kinds("beyond 1024"))
    ],
    "vlm_r1_all_match": [Difference(WHOLE, kinds("no tags", "open answer"))],
    "vlm_r1_text_ratio": [
        Difference(WHOLE, kinds("no tags", "open answer")),
        Difference(
            "İ is two characters in lower case, one of them i, which is 2/3; no rule of the released code gives its 0",
            lambda case: "<answer>İ</answer>" in case.input["text"],
        ),
    ],
    "vlm_r1_format": [
        Difference(
            FORMAT, kinds("empty thought", "two answers", "newline at the end", "closed twice", "empty answer")
        )
    ],
    "vlm_r1_rec_iou": [
        Difference(
            "an answer is one JSON object with one box, or a list of one; the released code takes the first four "
            "whole numbers in brackets of the first answer, and no overlap up to a pixel wide",
            not_one_box,
        )
    ],
    "vlm_r1_format_rec": [Difference(FORMAT, either(not_one_box, no_thought))],
}  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_released_code_agrees(name: str) -> None:
    differences = DIFFERENCES.get(name, [])
    wrong, stated = [], {difference.reason: 0 for difference in differences}
    for case, value, agrees in compared(name):
        if agrees:
            continue
        reason = next((d.reason for d in differences if d.applies(case)), None)
        if reason is None:
            wrong.append((case.id, case.input, case.expected, value))
        else:
            stated[reason] += 1
    assert not wrong
    assert all(stated.values()), f"no case differs for the reason: {stated}"


def test_every_file_is_compared() -> None:
    assert {file.name.partition(".")[0] for file in FOLDER.glob("*.jsonl.xz")} == set(FUNCTIONS)
    assert sum(len(cases(name)) for name in FUNCTIONS) == 6358
