"""Boxes in images: parsing, IoU, and conversion between a model's box space and original pixels."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from reasoner_rm.schema import BoxSpace

Array: TypeAlias = NDArray[np.float64]

MAX_TEXT = 32_000
"""Longer answers are unreadable, in characters; enough for MAX_BOXES entries with white space."""
MAX_BOXES = 200
MAX_LABEL = 200
"""In characters; bounds Unicode normalisation, which is quadratic in a run of combining marks."""
MAX_COORDINATE = 1e6
"""In pixels; keeps areas far from overflow."""


@dataclass(frozen=True, slots=True, eq=False)
class Boxes:
    """N boxes: ``xyxy`` [N, 4] as x1, y1, x2, y2 with x1 < x2 and y1 < y2, each with a label (empty: none)."""

    xyxy: Array
    labels: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)


def parse_boxes(text: str) -> Boxes | None:
    """The boxes in a JSON text: a list of ``{"bbox_2d": [x1, y1, x2, y2], "label": "…"}``, or one of them.

    A Markdown fence around it is allowed. Coordinates are not converted. None if any entry is not a box, or the text or
    the list is too long. Never raises.
    """
    if len(text) > MAX_TEXT:
        return None
    text = text.strip()
    if text.startswith("```") and text.endswith("```"):
        text = text[3:-3].removeprefix("json")
    try:
        items = json.loads(text)
        return boxes_from_json([items] if isinstance(items, dict) else items)
    except (ValueError, RecursionError):
        return None


def boxes_from_json(items: object) -> Boxes:
    """Boxes from parsed JSON.

    Raises:
        ValueError: an entry is not a box, a label is not a text, or there are too many.
    """
    if not isinstance(items, (list, tuple)) or len(items) > MAX_BOXES:
        raise ValueError(f"boxes must be a list of at most {MAX_BOXES}")
    rows, labels = [], []
    for item in items:
        match item:
            case {"bbox_2d": [_, _, _, _] as row} if all(_is_coordinate(v) for v in row):
                rows.append(row)
            case _:
                raise ValueError(f"{item!r:.60} holds no bbox_2d of 4 numbers")
        label = item.get("label", "")
        if not isinstance(label, str) or len(label) > MAX_LABEL:
            raise ValueError(f"a label must be a text of at most {MAX_LABEL} characters")
        labels.append(label)
    xyxy = np.array(rows, dtype=np.float64).reshape(-1, 4)
    if not (xyxy[:, :2] < xyxy[:, 2:]).all():
        raise ValueError("a box needs x1 < x2 and y1 < y2")
    return Boxes(xyxy, tuple(labels))


def _is_coordinate(value: object) -> bool:
    return type(value) in (int, float) and abs(value) <= MAX_COORDINATE  # type: ignore[arg-type]  # NaN compares false


def iou_matrix(a: Array, b: Array) -> Array:
    """Intersection over union of every box of ``a`` [N, 4] with every box of ``b`` [M, 4]: [N, M], each 0..1.

    Coordinates are continuous, so a box from 0 to 10 is 10 wide (torchvision's convention, not COCO's old +1).
    """
    low, high = np.maximum(a[:, None, :2], b[:, :2]), np.minimum(a[:, None, 2:], b[:, 2:])
    overlap = (high - low).clip(min=0).prod(-1)
    area_a, area_b = ((x[:, 2:] - x[:, :2]).prod(-1) for x in (a, b))
    return np.asarray(overlap / np.maximum(area_a[:, None] + area_b - overlap, np.finfo(np.float64).tiny))


def to_original(xyxy: Array, space: BoxSpace, original: tuple[int, int], processed: tuple[int, int]) -> Array:
    """Boxes [N, 4] from the space in which a model family writes them to pixels of the original image.

    Args:
        space: ``processed``: pixels of the processed image; ``normalized_1000``: 0 to 1000 along either side.
        original, processed: (width, height) in pixels, as ``RewardContext.image_sizes`` holds them.

    >>> to_original(np.array([[100.0, 0, 500, 250]]), "normalized_1000", (640, 480), (616, 476)).tolist()
    [[64.0, 0.0, 320.0, 120.0]]
    """
    return xyxy * _scale(space, original, processed)


def from_original(xyxy: Array, space: BoxSpace, original: tuple[int, int], processed: tuple[int, int]) -> Array:
    """The inverse of :func:`to_original`: boxes [N, 4] in original pixels to the model family's space."""
    return xyxy / _scale(space, original, processed)


def _scale(space: BoxSpace, original: tuple[int, int], processed: tuple[int, int]) -> Array:
    width, height = processed if space == "processed" else (1000, 1000)
    return np.array((original[0] / width, original[1] / height) * 2)
