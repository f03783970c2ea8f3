"""Where every object of the given categories is."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from reasoner_rm.errors import InputError
from reasoner_rm.schema import Sample
from reasoner_rm.tasks.box_task import Localisation
from reasoner_rm.tasks.boxes import Boxes, iou_matrix
from reasoner_rm.tasks.qa import normalise

THRESHOLD = 0.5
"""A box finds an object from this IoU on, as in COCO's AP50."""


class Detection(Localisation):
    """``prompt`` names the categories; ``gold.boxes`` holds every object of them, or nothing where there is none.

    Correctness is F1 at IoU 0.5: one box for one object of the same label (case and outer punctuation aside), as
    many pairs as can be had; 2·pairs / (found + true). So a missed object costs as much as a box too many, and
    filling the image with boxes does not pay. Nothing found where nothing is: 1.
    """

    name: ClassVar[str] = "detection"

    def validate(self, sample: Sample) -> None:
        super().validate(sample)
        for item in sample.gold["boxes"]:
            if not normalise(item.get("label", "")):
                what = f"sample {sample.id!r}: the gold box {item['bbox_2d']} has no label"
                raise InputError(what, remedy="name its category")

    def score(self, found: Boxes, gold: Boxes) -> float:
        from scipy.optimize import linear_sum_assignment  # longer to import than all tasks together

        if not len(found) + len(gold):
            return 1.0
        said, true = (np.array([normalise(label) for label in boxes.labels], dtype=object) for boxes in (found, gold))
        hits = (iou_matrix(found.xyxy, gold.xyxy) >= THRESHOLD) & (said[:, None] == true)
        pairs = int(hits[linear_sum_assignment(hits, maximize=True)].sum())
        return 2 * pairs / (len(found) + len(gold))
