"""One held-out sample with the judge's answer, as an example in the model card."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reasoner_rm.data.images import open_image
from reasoner_rm.data.io import load_samples
from reasoner_rm.errors import InputError
from reasoner_rm.release.run_info import RunInfo
from reasoner_rm.schema import Sample
from reasoner_rm.utils.parse_files import parse_object

MAX_SIDE = 384
"""The longer side of an example's images, in pixels."""


@dataclass(frozen=True, slots=True)
class Example:
    """``images`` are paths in the release folder, in shown order; ``text`` is the judge's completion, unescaped."""

    prompt: str
    images: tuple[str, ...]
    text: str


def example(info: RunInfo, folder: Path) -> Example | None:
    """A held-out sample that the last stage judged correctly; its images are copied into ``folder``.

    None if the run has no evaluation records or no held-out file, or if the task is not about images.
    """
    texts, file = _correct_texts(info), info.file("heldout")
    if not texts or file is None or info.judge.task not in ("image_preference", "edit_preference", "pointwise"):
        return None
    for sample in load_samples(file):
        if sample.id in texts:
            return Example(sample.prompt, _copy_images(sample, folder), texts[sample.id])
    return None


def _correct_texts(info: RunInfo) -> dict[str, str]:
    """Correct and well-formed completions of the last stage, by sample id."""
    stages = list(info.evaluations)
    file = info.run / "evaluations" / f"{stages[-1]}-heldout.jsonl" if stages else None
    if file is None or not file.is_file():
        return {}
    rows = [_row(line, file, number) for number, line in enumerate(file.read_bytes().splitlines(), start=1)]
    return {
        str(row.get("id")): str(row["text"])
        for row in rows
        if row.get("correct") == 1.0 and row.get("order") == "given" and row.get("well_formed") and row.get("text")
    }


def _row(line: bytes, file: Path, number: int) -> dict[str, Any]:
    try:
        return parse_object(line)
    except ValueError as error:
        remedy = "evaluate the run again: reasoner-rm eval CONFIG.yaml"
        raise InputError(str(error), file=file, line=number, remedy=remedy) from None


def _copy_images(sample: Sample, folder: Path) -> tuple[str, ...]:
    names = []
    (folder / "example").mkdir(exist_ok=True)
    for i, ref in enumerate(sample.images, 1):
        image = open_image(ref)
        image.thumbnail((MAX_SIDE, MAX_SIDE))
        names.append(f"example/{i}.png")
        image.save(folder / names[-1])
    return tuple(names)
