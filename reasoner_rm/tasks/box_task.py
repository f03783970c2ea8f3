"""What detection and grounding have in common: the answer is boxes."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np

from reasoner_rm.errors import InputError
from reasoner_rm.schema import Sample
from reasoner_rm.tasks.base import Task, require
from reasoner_rm.tasks.boxes import MAX_TEXT, Array, Boxes, boxes_from_json, read_boxes
from reasoner_rm.tasks.escape import check_text, escape


class Localisation(Task):
    """The answer is a JSON list of ``{"bbox_2d": [x1, y1, x2, y2], "label": "…"}``; so is gold ``boxes``.

    Gold stands in pixels of the original image. An answer's numbers are taken as they stand; where a model family
    writes in another space, a reward brings them over: ``score(Boxes(to_original(…), found.labels), gold)``.
    """

    @abstractmethod
    def score(self, found: Boxes, gold: Boxes) -> float:
        """How right the found boxes are, 0..1. Both in the same space."""

    def validate(self, sample: Sample) -> None:
        if len(sample.images) != 1:
            raise InputError(
                f"sample {sample.id!r} has {len(sample.images)} images, {self.name} looks at 1",
                remedy="make a row for each image",
            )
        try:
            boxes = boxes_from_json(require(sample.gold, "boxes", sample))
        except ValueError as error:
            remedy = 'give a list of {"bbox_2d": [x1, y1, x2, y2], "label": "…"} in original pixels'
            raise InputError(f"sample {sample.id!r}: gold.boxes is wrong: {error}", remedy=remedy) from None
        for label in boxes.labels:
            check_text(label, sample.id)
        if read_boxes(self.reference_answer(sample) or "") is None:
            what = f"sample {sample.id!r}: gold.boxes is too long for an answer, which holds {MAX_TEXT} characters"
            raise InputError(what, remedy="shorten its labels or leave the row out")

    def parse_answer(self, answer: str, sample: Sample) -> Boxes | None:
        return read_boxes(answer)

    def gold(self, sample: Sample) -> Boxes | None:
        """The true boxes, in original pixels, their labels as a prompt shows them."""
        return boxes_from_json(_written(sample)) if "boxes" in sample.gold else None

    def convert_boxes(self, text: str, sample: Sample, move: Callable[[Array], Array]) -> str:
        """A completion with the boxes of its answer moved to another space and rounded to whole numbers.

        A text without a readable answer, or whose boxes stay where they are, is returned as it is.
        """
        answer = self.parse(text, sample).answer
        found = None if answer is None else self.parse_answer(answer, sample)
        if answer is None or found is None:
            return text
        moved = move(found.xyxy)
        if np.allclose(moved, found.xyxy):
            return text
        corners = np.rint(moved).astype(int)
        corners[:, 2:] = np.maximum(corners[:, 2:], corners[:, :2] + 1)  # a box stays a box
        items = [
            {"bbox_2d": box, **({"label": label} if label else {})}
            for box, label in zip(corners.tolist(), found.labels, strict=True)
        ]
        start = text.rindex(answer)
        written = json.dumps(items, ensure_ascii=False, separators=(",", ":"))
        return text[:start] + written + text[start + len(answer) :]

    def grade(self, answer: str, sample: Sample) -> float | None:
        gold = self.gold(sample)
        if gold is None:
            return None
        found = self.parse_answer(answer, sample)
        return 0.0 if found is None else self.score(found, gold)

    def reference_answer(self, sample: Sample) -> str | None:
        return json.dumps(_written(sample), ensure_ascii=False) if "boxes" in sample.gold else None


def _written(sample: Sample) -> list[dict[str, Any]]:
    """The gold as an answer writes it: nothing but box and label, control text in labels escaped."""
    return [
        {"bbox_2d": list(item["bbox_2d"]), **({"label": escape(item["label"])} if "label" in item else {})}
        for item in sample.gold["boxes"]
    ]
