"""How Vision-R1's released code (arXiv 2503.18013) reads boxes out of a text, and what it takes for the format."""

from __future__ import annotations

import json
import re

import numpy as np

from reasoner_rm.tasks.boxes import MAX_BOXES, MAX_COORDINATE, MAX_TEXT, Boxes

_FENCE = re.compile(r"```json\n|\n```")
_COORDINATES = ", ".join([r"(\d{1,3}|1000)"] * 4)
_ENTRY = re.compile(rf'\{{"bbox_2d": \[{_COORDINATES}\], "label": "([^"]+)"\}}')


def released_boxes(text: str) -> Boxes:
    """The boxes of a text; none for a text without any.

    A JSON list, bare or behind a line that begins with `` ```json ``, is read entry by entry: what is no box is
    skipped, coordinates are cut off to whole numbers. Without a box there, entries of exactly the asked form are
    searched in the whole text. Texts beyond ``MAX_TEXT`` characters have no boxes; ``MAX_BOXES`` are read at most.
    """
    text = text.strip()
    if len(text) > MAX_TEXT:
        return _boxes([])
    found = _boxes([(item.get("bbox_2d"), item.get("label")) for item in _json_list(text) if isinstance(item, dict)])
    if len(found):
        return found
    return _boxes([(list(map(int, match[:4])), match[4]) for match in _ENTRY.findall(text)])


def is_released_format(text: str) -> bool:
    """Whether a text is JSON, in a fence or bare, in which no entry with a box and a label has another number of
    coordinates than 4. So `5`, `{}` and `[]` have the format."""
    try:
        items = json.loads(_FENCE.sub("", text).strip())
    except (ValueError, RecursionError):
        return False
    entries = [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []
    boxes = [item["bbox_2d"] for item in entries if {"bbox_2d", "label"} <= item.keys()]
    return all(isinstance(box, list) and len(box) == 4 for box in boxes)


def released_label(label: str) -> str:
    """A label as it is compared: in lower case, without white space around it."""
    return label.strip().lower()


def _json_list(text: str) -> list[object]:
    first, _, rest = text.partition("\n")
    try:
        items = json.loads((rest if first.startswith("```json") else text).partition("```")[0])
    except (ValueError, RecursionError):
        return []
    return items if isinstance(items, list) else []


def _boxes(entries: list[tuple[object, object]]) -> Boxes:
    """The boxes among pairs of coordinates and label; a label that is no text is empty."""
    found = [(corners, label) for box, label in entries if (corners := _corners(box)) is not None][:MAX_BOXES]
    labels = tuple(label if isinstance(label, str) else "" for _, label in found)
    return Boxes(np.array([corners for corners, _ in found], dtype=np.float64).reshape(-1, 4), labels)


def _corners(box: object) -> list[int] | None:
    """Four whole numbers x1 < x2, y1 < y2; None for anything else."""
    if not isinstance(box, list) or len(box) != 4:
        return None
    try:
        x1, y1, x2, y2 = corners = [int(value) for value in box]
    except (TypeError, ValueError, OverflowError):
        return None
    return corners if x1 < x2 and y1 < y2 and max(map(abs, corners)) <= MAX_COORDINATE else None
