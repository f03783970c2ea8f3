"""Vision-R1-Data: detection, with the boxes as one JSON text and the classes as another."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from reasoner_rm.data.recipe import PARQUET, Recipe
from reasoner_rm.data.row import DatasetRow, as_dict, as_list, as_number, as_text
from reasoner_rm.errors import InputError
from reasoner_rm.schema import Sample


def vision_r1(row: DatasetRow, options: object) -> Iterable[Sample]:
    """`solution` is [[class, [x1, y1, x2, y2]], …]; `target_id_maps` names the classes asked for, 0 is background."""
    boxes: list[dict[str, Any]] = []
    for item in as_list(row.parsed("solution"), "solution"):
        label, corners = as_list(item, "solution", 2)
        box = [as_number(v, "solution") for v in as_list(corners, "solution", 4)]
        boxes.append({"bbox_2d": box, "label": as_text(label, "solution: a class")})
    stated = row.optional("num_instances")
    if stated is not None and int(as_number(stated, "num_instances", 0)) != len(boxes):
        raise InputError(f"num_instances is {stated}, solution holds {len(boxes)}", remedy="correct or remove the row")
    names = [str(name) for name, number in as_dict(row.parsed("target_id_maps"), "target_id_maps").items() if number]
    image = row.images("images" if "images" in row.values else "image", 1)[0]
    meta = {name: row.values[name] for name in ("width", "height") if row.optional(name) is not None}
    return [
        Sample(
            id=row.name, task="detection", prompt=", ".join(names or sorted({b["label"] for b in boxes})),
            images=(image,), gold={"boxes": boxes}, source=row.source, meta=meta,
        )
    ]  # fmt: skip


VISION_R1 = Recipe(
    "vision_r1", "Vision-R1-Data: detection with criterion-driven rewards (arXiv 2503.18013)", vision_r1,
    hub="JefferyZhan/Vision-R1-Data", licence="", tables=(*PARQUET, "*.parquet"), splits=("train",),
)  # fmt: skip
