"""One held-out comparison with what the judge said about it, to be shown in the model card."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reasoner_rm.data.images import open_image
from reasoner_rm.data.io import load_samples
from reasoner_rm.release.run_info import Record
from reasoner_rm.schema import Sample

SIDE = 384
"""Pictures are made this small, in pixels."""


@dataclass(frozen=True, slots=True)
class Example:
    """``images`` are files of the release folder, in shown order; ``text`` is the judge's own, control text and all."""

    prompt: str
    images: tuple[str, ...]
    text: str


def example(record: Record, folder: Path) -> Example | None:
    """A held-out sample that was judged right with its pictures copied; None where a run kept no evaluation."""
    said, file = _said(record), record.file("heldout")
    if not said or file is None or record.card.task not in ("image_preference", "edit_preference", "pointwise"):
        return None
    for sample in load_samples(file):
        if sample.id in said:
            return Example(sample.prompt, _pictures(sample, folder), said[sample.id])
    return None


def _said(record: Record) -> dict[str, str]:
    """Right and well-formed answers of the last stage, by sample."""
    stages = list(record.figures)
    file = record.run / "evaluations" / f"{stages[-1]}-heldout.jsonl" if stages else None
    if file is None or not file.is_file():
        return {}
    rows: list[dict[str, Any]] = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    return {
        row["id"]: row["text"]
        for row in rows
        if row.get("correct") == 1.0 and row.get("order") == "given" and row.get("well_formed") and row.get("text")
    }


def _pictures(sample: Sample, folder: Path) -> tuple[str, ...]:
    names = []
    (folder / "example").mkdir(exist_ok=True)
    for i, ref in enumerate(sample.images, 1):
        image = open_image(ref)
        image.thumbnail((SIDE, SIDE))
        names.append(f"example/{i}.png")
        image.save(folder / names[-1])
    return tuple(names)
