"""Benchmarks as they are published, a few rows each: the same columns and types, with drawn images."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

COLOURS = ("red", "green", "blue", "orange", "purple", "teal", "grey", "pink")


def picture(i: int = 0, side: int = 32) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (side, side), COLOURS[i % len(COLOURS)]).save(out, "PNG")
    return out.getvalue()


def struct(i: int = 0) -> dict[str, Any]:
    """An image as the hub's `Image` feature stores it."""
    return {"bytes": picture(i), "path": f"{i}.png"}


def files(folder: Path, *names: str) -> None:
    """Image files."""
    for i, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(picture(i))


def parquet(folder: Path, name: str, rows: Sequence[dict[str, Any]]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(list(rows)), folder / name)
    return folder


def as_json(folder: Path, name: str, value: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps(value), encoding="utf-8")
    return folder


def json_lines(folder: Path, name: str, rows: Sequence[dict[str, Any]]) -> Path:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder


VLRB_IDS = (
    "RLAIF-V-1", "RLHF-V-2", "hallucination_pair-3", "mathverse_4", "mmmu_pro-5", "wildvision-battle_6", "VLFeedback-7",
    "RLAIF-V-1",
)  # fmt: skip


def vl_rewardbench_row(name: str, i: int, ranking: Sequence[int] = (0, 1)) -> dict[str, Any]:
    return {
        "id": name, "query": f"<image>\nWhat is shown in {i}?",
        "response": [f"A square, {i}.", f"A {'very ' * (i % 3)}red square, {i}."],
        "image": struct(i), "human_ranking": list(ranking), "models": ["m1", "m2"], "judge": "j", "rationale": "",
        "query_source": "q", "ground_truth": "",
    }  # fmt: skip


def vl_rewardbench(folder: Path) -> Path:
    """A duplicate id, and one row whose second answer is the better one."""
    rows = [vl_rewardbench_row(name, i, (1, 0) if i == 3 else (0, 1)) for i, name in enumerate(VLRB_IDS)]
    return parquet(folder, "test-00000-of-00001.parquet", rows)
