"""What released code of the systems computed (`vectors/README.md`) against this project's rewards, readers, protocols,
losses: every case agrees, except where the documentation states a difference."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from released_vectors import FILES, FOLDER, FUNCTIONS, Case, cases, compared

Applies = Callable[[Case], bool]

DOCS = " ".join(
    (Path(__file__).parents[2] / "docs" / name).read_text(encoding="utf-8") for name in ("rewards.md", "evaluation.md")
)


@dataclass(frozen=True, slots=True)
class Difference:
    """Cases in which this project differs on purpose, and the sentence of `docs/` that says so."""

    stated: str
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


NUMBER = "In `cal.py` a verdict other than 1 or 2 counts as correct; here it is unreadable."
FORMAT = (
    "One thought and one readable answer, neither of them empty; white space around and between them does not matter."
)
ENTRIES = "an entry that is no box makes it unreadable, which earns 0."
LABELS = "Labels are compared without case, width, outer white space and stops."
NOTHING = "An empty list is right where there is no object."
WHOLE = "A text without an answer element earns 0."
CHOICE = Difference(
    "A gold answer that ends in a Latin letter on its own (`i`, `ét`) is a choice",
    lambda case: case.input["gold"] in ("i", "ét"),
)
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
        Difference("A path that names two categories belongs to the first of them", kinds("two words in a path"))
    ],
    "mj_bench_rating": [
        Difference("here a text without a number is read by the second.", kinds("a narrative word too"))
    ],
    "editreward_strict": [Difference("Equal scores are no order", kinds("equal scores"))],
    "vlm_r1_cosine_length": [Difference("The length is clamped at the longest", kinds("beyond 1024"))],
    "vlm_r1_format": [
        Difference(
            FORMAT, kinds("empty thought", "two answers", "newline at the end", "closed twice", "empty answer")
        )
    ],
    "vlm_r1_format_rec": [Difference(FORMAT, either(not_one_box, no_thought))],
    "vlm_r1_text_ratio": [CHOICE],
    "vlm_r1_text_ratio default": [Difference(WHOLE, kinds("no tags", "open answer")), CHOICE],
    "vlm_r1_all_match default": [Difference(WHOLE, kinds("no tags", "open answer"))],
    "vlm_r1_rec_iou default": [Difference("The answer is JSON with one box; its IoU.", not_one_box)],
    "vlm_r1_od_map default": READING,
    "vlm_r1_od_map50 default": READING,
    "vlm_r1_od_length default": READING,
    "vlm_r1_od_weighted_sum default": [
        *READING, Difference(NOTHING, kinds("plain, nothing found", "empty list")),
    ],
    "vision_r1_recall_by_step default": [
        Difference("A share of ξ2 counts 1, as in the paper.", kinds("exactly 0.75"))
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_released_code_agrees(name: str) -> None:
    differences = DIFFERENCES.get(name, [])
    wrong, stated = [], {difference.stated: 0 for difference in differences}
    for case, value, agrees in compared(name):
        if agrees:
            continue
        sentence = next((d.stated for d in differences if d.applies(case)), None)
        if sentence is None:
            wrong.append((case.id, case.input, case.expected, value))
        else:
            stated[sentence] += 1
    assert not wrong
    assert all(stated.values()), f"no case differs as stated: {stated}"
    assert all(sentence in DOCS for sentence in stated)


def test_every_file_is_compared() -> None:
    assert {file.name.partition(".")[0] for file in FOLDER.glob("*.jsonl.xz")} == set(FILES)
    assert sum(len(cases(name)) for name in FILES) == 6358
