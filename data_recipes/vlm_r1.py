"""VLM-R1's data: referring expressions (REC) and open-vocabulary detection (OVD)."""

from __future__ import annotations

from reasoner_rm.data.recipe import Recipe
from reasoner_rm.data.vlm_r1_rows import ovd, rec

REC = Recipe(
    "refcoco", "RefCOCO, RefCOCO+ and RefCOCOg in VLM-R1's form (arXiv 2504.07615)", rec,
    hub="omlab/VLM-R1", tables=("*{split}*.jsonl", "*{split}*.json", "*.jsonl"),
    splits=("train", "val", "testA", "testB"),
)  # fmt: skip
OVD = Recipe(
    "ovd", "open-vocabulary detection in VLM-R1's form (arXiv 2504.07615)", ovd,
    licence="", tables=("*{split}*.jsonl", "*{split}*.json", "*.jsonl"), splits=("train",),
)  # fmt: skip
