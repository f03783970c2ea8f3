"""COCO instances."""

from __future__ import annotations

from reasoner_rm.data.coco_rows import TABLES, CocoOptions, coco, per_image
from reasoner_rm.data.recipe import Recipe

COCO = Recipe(
    "coco", "COCO instances: boxes of 80 categories in photographs (arXiv 1405.0312)", coco,
    licence="cc-by-4.0", tables=TABLES,
    splits=("train", "val"), options=CocoOptions, explode=per_image,
)  # fmt: skip
