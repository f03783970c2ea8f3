"""M-HalDetect: answers about COCO images, marked span by span as accurate or not; a span is a step to judge."""

from __future__ import annotations

from collections.abc import Iterable

from reasoner_rm.data.pairing import prompt_group
from reasoner_rm.data.recipe import Recipe
from reasoner_rm.data.row import DatasetRow, SkipRow, as_dict, as_number
from reasoner_rm.errors import InputError
from reasoner_rm.schema import Sample

LABELS = {"ACCURATE": 1, "INACCURATE": 0, "ANALYSIS": None, "UNSURE": None}
"""Labels that are neither right nor wrong (analysis, unsure); their spans are left out."""


def m_haldetect(row: DatasetRow, options: object) -> Iterable[Sample]:
    """`response` and `annotations` with character offsets `start`, `end` and a `label`."""
    response, steps, gold, spans = row.text("response"), [], [], []
    for item in row.items("annotations"):
        mark = as_dict(item, "annotations")
        label = str(mark.get("label")).upper()
        if label not in LABELS:
            raise InputError(f"annotations: label {label!r}", remedy=f"use one of {', '.join(LABELS)}")
        start, end = (int(as_number(mark.get(k), f"annotations.{k}", 0, len(response))) for k in ("start", "end"))
        text = response[start:end].strip()
        if not text:
            raise InputError(f"annotations: nothing stands at {start} to {end}", remedy="correct or remove the row")
        if LABELS[label] is not None:
            steps.append(text)
            gold.append(LABELS[label])
            spans.append([start, end])
    if not steps:
        raise SkipRow("no span marked accurate or inaccurate")
    column = next((c for c in ("image", "image_path", "image_id") if row.optional(c) is not None), "image")
    question = row.text("question")
    return [
        Sample(
            id=row.name, task="step_critique", prompt=question, images=(_image(row, column),), responses=tuple(steps),
            gold={"steps": gold}, group_id=prompt_group(f"{question}\n{row.value(column)}"), source=row.source,
            meta={"response": response, "spans": spans},
        )
    ]  # fmt: skip


def _image(row: DatasetRow, column: str) -> str:
    """A path, or the number of an image of COCO's val2014."""
    value = row.value(column)
    if isinstance(value, int) or (isinstance(value, str) and value.isdecimal()):
        return row.refer(f"COCO_val2014_{int(value):012d}.jpg", column)
    return row.image(column)


M_HALDETECT = Recipe(
    "m_haldetect", "M-HalDetect: 16k answers marked span by span (arXiv 2308.06394)", m_haldetect,
    tables=("{split}_raw.json",), splits=("train", "val"),
)  # fmt: skip
