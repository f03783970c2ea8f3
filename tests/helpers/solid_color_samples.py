"""Comparisons of flat pictures, written down as a recipe reads them."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from reasoner_rm.data.io import write_samples
from reasoner_rm.schema import Sample


def write_flat_rows(folder: Path, count: int) -> Path:
    """`rows.jsonl` in a folder, beside its pictures: each is compared with itself."""
    rows = []
    for i in range(count):
        image = str(folder / f"{i}.png")
        Image.new("RGB", (56, 56), (20 * i, 0, 0)).save(image)
        rows.append(Sample(str(i), "image_preference", "red", (image, image), gold={"p_first": 1.0}, target="a"))
    file = folder / "rows.jsonl"
    write_samples(file, rows)
    return file
