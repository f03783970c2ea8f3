"""Detection and grounding: the answer is a list of boxes."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from reasoner_rm.errors import InputError
from reasoner_rm.schema import Sample
from reasoner_rm.tasks.base import Task, require
from reasoner_rm.tasks.boxes import MAX_TEXT, Array, Boxes, boxes_from_json, iou_matrix, parse_boxes
from reasoner_rm.tasks.escape import check_text, escape
from reasoner_rm.tasks.qa import normalise

MIN_IOU = 0.5
"""A detected object needs at least this IoU, as in COCO's AP50; a grounded one needs more than it."""

NOTHING = "None"
"""How an answer may state that there is no object, besides an empty list."""


class Localisation(Task):
    """The answer is a JSON list of ``{"bbox_2d": [x1, y1, x2, y2], "label": "…"}``; so is gold ``boxes``.

    Gold is in pixels of the original image. An answer's numbers are not converted here; where a model family writes in
    another box space, rewards convert first: ``score(Boxes(to_original(…), boxes.labels), gold)``.
    """

    @abstractmethod
    def score(self, predicted: Boxes, gold: Boxes) -> float:
        """The correctness of the predicted boxes, 0..1. Both in the same box space."""

    def validate(self, sample: Sample) -> None:
        if len(sample.images) != 1:
            raise InputError(
                f"sample {sample.id!r} has {len(sample.images)} images, {self.name} needs 1",
                remedy="make a row for each image",
            )
        try:
            boxes = boxes_from_json(require(sample.gold, "boxes", sample))
        except ValueError as error:
            remedy = 'give a list of {"bbox_2d": [x1, y1, x2, y2], "label": "…"} in original pixels'
            raise InputError(f"sample {sample.id!r}: gold.boxes is wrong: {error}", remedy=remedy) from None
        for label in boxes.labels:
            check_text(label, sample.id)
        if parse_boxes(self.reference_answer(sample) or "") is None:
            what = f"sample {sample.id!r}: gold.boxes is too long for an answer, which holds {MAX_TEXT} characters"
            raise InputError(what, remedy="shorten its labels or leave the row out")

    def parse_answer(self, answer: str, sample: Sample) -> Boxes | None:
        return parse_boxes(answer)

    def gold(self, sample: Sample) -> Boxes | None:
        """The gold boxes, in original pixels, their labels escaped as in a prompt."""
        return boxes_from_json(_escaped_gold(sample)) if "boxes" in sample.gold else None

    def convert_boxes(self, text: str, sample: Sample, convert: Callable[[Array], Array]) -> str:
        """A completion with the boxes of its answer converted to another box space and rounded to whole numbers.

        A text without a readable answer, or whose boxes do not change, is returned unchanged.
        """
        answer = self.parse(text, sample).answer
        boxes = None if answer is None else self.parse_answer(answer, sample)
        if answer is None or boxes is None:
            return text
        converted = convert(boxes.xyxy)
        if np.allclose(converted, boxes.xyxy):
            return text
        corners = np.rint(converted).astype(int)
        corners[:, 2:] = np.maximum(corners[:, 2:], corners[:, :2] + 1)  # rounding must not make a box empty
        items = [
            {"bbox_2d": box, **({"label": label} if label else {})}
            for box, label in zip(corners.tolist(), boxes.labels, strict=True)
        ]
        start = text.rindex(answer)
        new_answer = json.dumps(items, ensure_ascii=False, separators=(",", ":"))
        return text[:start] + new_answer + text[start + len(answer) :]

    def grade(self, answer: str, sample: Sample) -> float | None:
        gold = self.gold(sample)
        if gold is None:
            return None
        predicted = self.parse_answer(answer, sample)
        return 0.0 if predicted is None else self.score(predicted, gold)

    def reference_answer(self, sample: Sample) -> str | None:
        return json.dumps(_escaped_gold(sample), ensure_ascii=False) if "boxes" in sample.gold else None


class Detection(Localisation):
    """``prompt`` names the categories; ``gold.boxes`` holds every object of them, or nothing where there is none.

    Correctness is F1 at IoU 0.5 under a maximum one-to-one matching of boxes and objects with the same label (case and
    outer punctuation aside): 2·pairs / (predicted + gold), 0..1. Both empty: 1. The answer `None` is no box, as in the
    data of VLM-R1 (arXiv 2504.07615).
    """

    name: ClassVar[str] = "detection"

    def validate(self, sample: Sample) -> None:
        super().validate(sample)
        for item in sample.gold["boxes"]:
            if not normalise(item.get("label", "")):
                what = f"sample {sample.id!r}: the gold box {item['bbox_2d']} has no label"
                raise InputError(what, remedy="name its category")

    def parse_answer(self, answer: str, sample: Sample) -> Boxes | None:
        return parse_boxes("[]" if answer.strip() == NOTHING else answer)

    def score(self, predicted: Boxes, gold: Boxes) -> float:
        from scipy.optimize import linear_sum_assignment  # longer to import than all tasks together

        if not len(predicted) + len(gold):
            return 1.0
        labels, gold_labels = (
            np.array([normalise(label) for label in boxes.labels], dtype=object) for boxes in (predicted, gold)
        )
        hits = (iou_matrix(predicted.xyxy, gold.xyxy) >= MIN_IOU) & (labels[:, None] == gold_labels)
        pairs = int(hits[linear_sum_assignment(hits, maximize=True)].sum())
        return 2 * pairs / (len(predicted) + len(gold))


class Grounding(Localisation):
    """``prompt`` is a referring expression; ``gold.boxes`` holds one box. An answer with another number of boxes is
    unreadable. Correctness is 1 above IoU 0.5, else 0; labels do not matter (VLM-R1, arXiv 2504.07615)."""

    name: ClassVar[str] = "grounding"

    def validate(self, sample: Sample) -> None:
        super().validate(sample)
        if len(sample.gold["boxes"]) != 1:
            what = f"sample {sample.id!r} has {len(sample.gold['boxes'])} gold boxes, an expression names 1 thing"
            raise InputError(what, remedy="use the task detection for none or several")

    def parse_answer(self, answer: str, sample: Sample) -> Boxes | None:
        boxes = super().parse_answer(answer, sample)
        return boxes if boxes is not None and len(boxes) == 1 else None

    def score(self, predicted: Boxes, gold: Boxes) -> float:
        return float(iou_matrix(predicted.xyxy, gold.xyxy).item() > MIN_IOU)


def _escaped_gold(sample: Sample) -> list[dict[str, Any]]:
    """The gold boxes in the form of an answer: box and label only, control text in labels escaped."""
    return [
        {"bbox_2d": list(item["bbox_2d"]), **({"label": escape(item["label"])} if "label" in item else {})}
        for item in sample.gold["boxes"]
    ]
