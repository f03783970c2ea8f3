"""Where the one thing is that an expression describes."""

from __future__ import annotations

from typing import ClassVar

from reasoner_rm.errors import InputError
from reasoner_rm.schema import Sample
from reasoner_rm.tasks.box_task import Localisation
from reasoner_rm.tasks.boxes import Boxes, iou_matrix

THRESHOLD = 0.5
"""A box is right above this IoU: how referring expressions are evaluated (VLM-R1, arXiv 2504.07615)."""


class Grounding(Localisation):
    """``prompt`` is the expression; ``gold.boxes`` holds one box. So does an answer, else it cannot be read.

    Correctness is 1 above IoU 0.5, else 0; labels do not matter.
    """

    name: ClassVar[str] = "grounding"

    def validate(self, sample: Sample) -> None:
        super().validate(sample)
        if len(sample.gold["boxes"]) != 1:
            what = f"sample {sample.id!r} has {len(sample.gold['boxes'])} gold boxes, an expression names 1 thing"
            raise InputError(what, remedy="use the task detection for none or several")

    def parse_answer(self, answer: str, sample: Sample) -> Boxes | None:
        found = super().parse_answer(answer, sample)
        return found if found is not None and len(found) == 1 else None

    def score(self, found: Boxes, gold: Boxes) -> float:
        return float(iou_matrix(found.xyxy, gold.xyxy).item() > THRESHOLD)
