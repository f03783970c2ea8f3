"""Boxes: read as a whole or not at all, measured as torchvision measures them, paid by what they find."""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
import time
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.ops import box_iou

from reasoner_rm.errors import InputError
from reasoner_rm.rewards import score
from reasoner_rm.schema import Sample
from reasoner_rm.tasks import get_task
from reasoner_rm.tasks.boxes import MAX_BOXES, MAX_COORDINATE, MAX_LABEL, MAX_TEXT, iou_matrix, parse_boxes, to_original

Box = tuple[float, float, float, float]
CUBE: Box = (10, 10, 30, 40)
ITEM = '{"bbox_2d": [10, 10, 30, 40], "label": "cube"}'

sides = st.tuples(st.floats(-1000, 1000), st.floats(0.1, 1000))
xyxy = st.tuples(sides, sides).map(lambda s: (s[0][0], s[1][0], s[0][0] + s[0][1], s[1][0] + s[1][1]))
labels = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=20)
lists = st.lists(st.tuples(xyxy, labels | st.sampled_from(["cube", "Cube.", "</answer>", "<\u2060think>", '"']))).map(
    lambda pairs: [{"bbox_2d": list(box), "label": label} for box, label in pairs]
)


def sample(task: str, *boxes: Box, label: str = "cube") -> Sample:
    items = [{"bbox_2d": list(box), "label": label} for box in boxes]
    return Sample("b", task, "cube", ("a.png",), gold={"boxes": items})


def said(*boxes: Box, label: str = "cube") -> str:
    return json.dumps([{"bbox_2d": box, "label": label} for box in boxes])


def array(*boxes: Box) -> Any:
    return np.array(boxes, dtype=np.float64).reshape(-1, 4)


def right(answer: str, sample: Sample) -> float | None:
    return get_task(sample.task).grade(answer, sample)


# --- overlap ---


@given(st.lists(xyxy, max_size=5), st.lists(xyxy, max_size=5))
def test_overlap_is_torchvisions(a: list[Box], b: list[Box]) -> None:
    expected = box_iou(torch.from_numpy(array(*a)), torch.from_numpy(array(*b)))
    found = iou_matrix(array(*a), array(*b))
    assert found.shape == (len(a), len(b))
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-9)
    assert ((found >= 0) & (found <= 1 + 1e-9)).all()


@pytest.mark.parametrize(
    ("a", "b", "overlap"),
    [
        ((0, 0, 10, 10), (0, 0, 10, 10), 1),
        ((0, 0, 10, 10), (0, 0, 10, 5), 0.5),
        ((0, 0, 10, 10), (5, 0, 15, 10), 1 / 3),
        ((0, 0, 10, 10), (10, 0, 20, 10), 0),
        ((0, 0, 10, 10), (50, 50, 60, 60), 0),  # both sides apart: no product of two negatives
    ],
)
def test_overlap_by_hand(a: Box, b: Box, overlap: float) -> None:
    assert iou_matrix(array(a), array(b)).item() == pytest.approx(overlap)


def test_boxes_come_back_to_original_pixels() -> None:
    box = array((100, 50, 500, 250))
    assert to_original(box, "normalized_1000", (640, 480), (616, 476)).tolist() == [[64, 24, 320, 120]]
    assert to_original(box, "processed", (1000, 1000), (500, 250)).tolist() == [[200, 200, 1000, 1000]]
    assert to_original(array(), "processed", (640, 480), (616, 476)).shape == (0, 4)


@given(xyxy, st.tuples(*[st.integers(28, 4000)] * 2), st.tuples(*[st.integers(28, 4000)] * 2))
def test_conversion_keeps_the_place_within_the_image(box: Box, original: Any, processed: Any) -> None:
    share = array(box) / np.array(processed * 2)
    found = to_original(array(box), "processed", original, processed)
    np.testing.assert_allclose(found / np.array(original * 2), share, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(
        to_original(share * 1000, "normalized_1000", original, processed), found, rtol=1e-9, atol=1e-9
    )


# --- reading ---


@pytest.mark.parametrize(
    "text",
    [
        f"[{ITEM}]",
        ITEM,
        f"```json\n[{ITEM}]\n```",
        f"```\n{ITEM}\n```",
        f"  [{ITEM}]\n",
        f'[{ITEM[:-1]}, "x": [[1]]}}]',
    ],
)
def test_boxes_are_read(text: str) -> None:
    found = parse_boxes(text)
    assert found is not None
    assert found.xyxy.tolist() == [list(CUBE)] and found.labels == ("cube",)


@pytest.mark.parametrize("text", ["[]", "```json\n[]\n```"])
def test_nothing_is_an_answer(text: str) -> None:
    found = parse_boxes(text)
    assert found is not None and len(found) == 0 and found.xyxy.shape == (0, 4)


def one(box: str, label: str = '"cube"') -> str:
    return f'[{{"bbox_2d": {box}, "label": {label}}}]'


@pytest.mark.parametrize(
    "text",
    [
        "",
        "none",
        "null",
        "7",
        '"[]"',
        "[",
        "```",
        "``````",
        "```json",
        f"[{ITEM}] and more",
        f"[{ITEM}][{ITEM}]",
        f"[{ITEM}, null]",
        f"[{ITEM}, 3]",
        "[10, 10, 30, 40]",
        "[[10, 10, 30, 40]]",
        '[{"label": "cube"}]',
        one("[10, 10, 30]"),
        one("[10, 10, 30, 40, 50]"),
        one('"10 10 30 40"'),
        one('["10", 10, 30, 40]'),
        one("[true, 10, 30, 40]"),
        one("[null, 10, 30, 40]"),
        one("[NaN, 10, 30, 40]"),
        one("[10, 10, Infinity, 40]"),
        one("[-Infinity, 10, 30, 40]"),
        one("[10, 10, 1e400, 40]"),
        one(f"[10, 10, {'9' * 5000}, 40]"),
        one(f"[10, 10, {MAX_COORDINATE + 1}, 40]"),
        one("[30, 10, 10, 40]"),
        one("[10, 40, 30, 10]"),
        one("[10, 10, 10, 40]"),
        one("[10, 10, 30, 40]", "7"),
        one("[10, 10, 30, 40]", "null"),
        one("[10, 10, 30, 40]", f'"{"a" * (MAX_LABEL + 1)}"'),
        said(*[CUBE] * (MAX_BOXES + 1)),
        f"[{ITEM}]" + " " * MAX_TEXT,
    ],
)
def test_what_is_no_list_of_boxes_is_not_read(text: str) -> None:
    assert parse_boxes(text) is None
    for task in ("detection", "grounding"):
        assert right(text, sample(task, CUBE)) == 0


def test_as_many_boxes_as_allowed_are_read() -> None:
    found = parse_boxes(said(*[CUBE] * MAX_BOXES))
    assert found is not None and len(found) == MAX_BOXES


def test_a_label_may_be_missing() -> None:
    text = '[{"bbox_2d": [10, 10, 30, 40]}]'
    assert right(text, sample("grounding", CUBE)) == 1
    assert right(text, sample("detection", CUBE)) == 0


@given(st.text() | st.recursive(st.none() | st.floats() | st.text(max_size=3), st.lists).map(json.dumps))
def test_no_text_breaks_the_reader(text: str) -> None:
    found = parse_boxes(text)
    assert found is None or found.xyxy.shape == (len(found), 4)


ACCENTS = said(*[CUBE] * MAX_BOXES, label="@").replace("@", "\u0301\u0316" * 40)
BOMBS = {
    "lists": "[" * MAX_TEXT,
    "objects": '{"a":' * (MAX_TEXT // 5),
    "digits": f"[{'9' * (MAX_TEXT - 2)}]",
    "commas": f"[{'0,' * (MAX_TEXT // 2 - 2)}0]",
    "as many boxes as allowed": said(*[CUBE] * MAX_BOXES),
    "stacked accents": ACCENTS,
    "a million": "[" + "1," * 500_000,
}


@pytest.mark.parametrize("name", BOMBS)
def test_the_longest_answers_take_milliseconds(name: str) -> None:
    crowd = sample("detection", *[CUBE] * MAX_BOXES)
    right(BOMBS[name], crowd)
    began = time.process_time()
    for _ in range(5):
        right(BOMBS[name], crowd)
    assert (time.process_time() - began) / 5 < 0.05  # 10 ms on a machine with nothing else to do


# --- detection ---


@given(lists.filter(lambda items: len(items) <= 20))
def test_the_canonical_answer_finds_everything(items: list[dict[str, Any]]) -> None:
    task, row = get_task("detection"), Sample("b", "detection", "cube", ("a.png",), gold={"boxes": items})
    try:
        task.validate(row)
    except InputError:
        return
    canonical = task.reference_answer(row)
    assert canonical is not None
    parsed = task.parse(f"<think>x</think><answer>{canonical}</answer>", row)
    assert parsed.well_formed and task.grade(parsed.answer or "", row) == 1


FAR: Box = (500, 500, 600, 600)
NEAR: Box = (10, 10, 30, 37)  # IoU 0.9 with CUBE
LOOSE: Box = (10, 10, 30, 24)  # 0.467


@pytest.mark.parametrize(
    ("found", "true", "f1"),
    [
        ([CUBE], [CUBE], 1),
        ([NEAR], [CUBE], 1),
        ([LOOSE], [CUBE], 0),
        ([(10, 10, 30, 25)], [CUBE], 1),  # exactly 0.5
        ([], [], 1),
        ([], [CUBE], 0),
        ([CUBE], [], 0),
        ([CUBE, FAR], [CUBE], 2 / 3),
        ([CUBE], [CUBE, FAR], 2 / 3),
        ([CUBE, NEAR], [CUBE], 2 / 3),  # a second box for one object is one too many
        ([CUBE, CUBE, FAR], [FAR, CUBE], 4 / 5),
        ([FAR, CUBE], [CUBE, FAR], 1),
        ([CUBE] + [FAR] * 9, [CUBE], 2 / 11),
    ],
)
def test_detection_earns_f1(found: list[Box], true: list[Box], f1: float) -> None:
    assert right(said(*found), sample("detection", *true)) == pytest.approx(f1)


def test_labels_must_agree() -> None:
    assert right(said(CUBE, label="ball"), sample("detection", CUBE)) == 0
    assert right(said(CUBE, label=" CUBE."), sample("detection", CUBE)) == 1


def test_pairs_are_the_most_that_can_be_had() -> None:
    """A greedy match by overlap would give the middle box to the first object and leave the second with none."""
    true: tuple[Box, ...] = ((0, 0, 10, 10), (4, 0, 14, 10))
    middle, left = (1.5, 0, 11.5, 10), (-3, 0, 7, 10)
    overlaps = iou_matrix(array(middle, left), array(*true))
    assert overlaps[0, 0] > overlaps[0, 1] > 0.5 < overlaps[1, 0] < overlaps[0, 0] and overlaps[1, 1] < 0.5
    assert right(said(middle, left), sample("detection", *true)) == 1


small = st.tuples(*[st.integers(0, 3)] * 2).map(lambda p: (float(p[0]), float(p[1]), p[0] + 2.0, p[1] + 2.0))


@given(st.lists(small, max_size=4), st.lists(small, max_size=4))
def test_matching_is_as_good_as_trying_every_assignment(found: list[Box], true: list[Box]) -> None:
    hits = iou_matrix(array(*found), array(*true)) >= 0.5
    if len(found) > len(true):
        hits = hits.T
    rows, columns = hits.shape
    best = max(sum(hits[i, c] for i, c in enumerate(p)) for p in itertools.permutations(range(columns), rows))
    total = len(found) + len(true)
    assert right(said(*found), sample("detection", *true)) == pytest.approx(2 * best / total if total else 1)


# --- grounding ---


@pytest.mark.parametrize(
    ("found", "earned"),
    [([CUBE], 1), ([NEAR], 1), ([(10, 10, 30, 25)], 0), ([LOOSE], 0), ([FAR], 0), ([], 0), ([CUBE, CUBE], 0)],
)
def test_grounding_earns_above_half_an_overlap(found: list[Box], earned: float) -> None:
    assert right(said(*found, label="anything"), sample("grounding", CUBE)) == earned


def test_an_expression_names_one_thing() -> None:
    task, row = get_task("grounding"), sample("grounding", CUBE)
    assert task.parse_answer(said(CUBE), row) is not None
    assert task.parse_answer(said(CUBE, FAR), row) is None and task.parse_answer("[]", row) is None


@pytest.mark.parametrize("task", ["detection", "grounding"])
def test_accuracy_pays_boxes(task: str) -> None:
    row = sample(task, CUBE)
    assert score("accuracy", f"<think>x</think><answer>{said(NEAR)}</answer>", row)["total"] == 1
    assert score("accuracy", f"<think>x</think><answer>{said(FAR)}</answer>", row)["total"] == 0
    assert score("accuracy", said(CUBE), row)["total"] == 0


# --- gold ---


def gold(boxes: Any, task: str = "detection") -> Sample:
    return Sample("b", task, "cube", ("a.png",), gold={"boxes": boxes})


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (Sample("b", "detection", "cube", ("a.png",)), 'add "boxes"'),
        (dataclasses.replace(sample("detection", CUBE), images=()), "has 0 images, detection needs 1"),
        (dataclasses.replace(sample("grounding", CUBE), images=("a", "b")), "has 2 images, grounding needs 1"),
        (gold("[]"), "a list of at most 200"),
        (gold([[1, 2, 3, 4]]), "holds no bbox_2d of 4 numbers"),
        (gold([{"bbox_2d": [1, 2, float("nan"), 4], "label": "a"}]), "holds no bbox_2d of 4 numbers"),
        (gold([{"bbox_2d": [1, 2, 10**400, 4], "label": "a"}]), "holds no bbox_2d of 4 numbers"),
        (gold([{"bbox_2d": [3, 2, 1, 4], "label": "a"}]), "needs x1 < x2 and y1 < y2; give a list of"),
        (gold([{"bbox_2d": [1, 2, 3, 4], "label": 7}]), "a label must be a text"),
        (gold([{"bbox_2d": [1, 2, 3, 4], "label": "a\x00"}]), "holds a NUL character"),
        (gold([{"bbox_2d": [1, 2, 3, 4]}]), "has no label; name its category"),
        (gold([{"bbox_2d": [1, 2, 3, 4], "label": "?"}]), "has no label"),
        (sample("detection", *[CUBE] * MAX_BOXES, label="a" * MAX_LABEL), "too long for an answer, which holds 32000"),
        (sample("grounding", CUBE, label="a" * (MAX_LABEL - 7) + "<think>"), "too long for an answer"),
        (gold([], "grounding"), "has 0 gold boxes, an expression names 1 thing; use the task detection"),
        (sample("grounding", CUBE, FAR), "has 2 gold boxes"),
    ],
)
def test_unusable_boxes_are_refused(row: Sample, message: str) -> None:
    with pytest.raises(InputError, match=f"sample 'b'.*{re.escape(message)}"):
        get_task(row.task).validate(row)
