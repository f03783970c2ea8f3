"""COCO instances: one file with images, annotations and categories, as one row per image."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reasoner_rm.data.recipe import option
from reasoner_rm.data.row import DatasetRow, SkipRow, as_dict, as_list, as_number
from reasoner_rm.errors import InputError
from reasoner_rm.schema import Sample

TABLES = ("instances_{split}2017.json", "annotations/instances_{split}2017.json", "*.json")
"""Names of the files."""


@dataclass(frozen=True, slots=True)
class CocoOptions:
    folder: str = option("", "folder of the images within the data folder, such as train2017")
    max_boxes: int = option(100, "leave out images with more objects")


def per_image(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Each image with its annotations, in file order. The whole file is read into memory: it is one JSON object."""
    try:
        whole = as_dict(json.loads(file.read_bytes()), "the file")
        names = {c["id"]: c["name"] for c in whole["categories"]}
        mine: dict[Any, list[Any]] = defaultdict(list)
        for annotation in whole["annotations"]:
            mine[annotation["image_id"]].append(annotation)
        images = as_list(whole["images"], "images")
    except (InputError, ValueError, KeyError, TypeError, RecursionError) as error:
        what = f"no COCO instances ({type(error).__name__}: {error!s:.120})"
        raise InputError(what, file=file, remedy="it needs images, annotations and categories") from None
    for number, image in enumerate(images, start=1):
        yield number, {**as_dict(image, "images"), "annotations": mine[image.get("id")], "categories": names}


def coco(row: DatasetRow, options: CocoOptions) -> Iterable[Sample]:
    """`bbox` is x, y, width, height; regions with `iscrowd` are left out."""
    names, boxes = row.value("categories"), []
    width, height = row.number_of("width", 1), row.number_of("height", 1)
    for item in row.items("annotations"):
        if item.get("iscrowd"):
            continue
        x, y, w, h = (as_number(v, "bbox") for v in as_list(item.get("bbox"), "bbox", 4))
        if item.get("category_id") not in names:
            raise InputError(f"category_id {item.get('category_id')!r} is no category")
        if w <= 0 or h <= 0 or x + w > width + 1 or y + h > height + 1 or x < -1 or y < -1:
            raise InputError(f"the bbox {[x, y, w, h]} lies outside {width:g}x{height:g}", remedy="correct it")
        boxes.append({"bbox_2d": [x, y, x + w, y + h], "label": names[item["category_id"]]})
    if not boxes:
        raise SkipRow("no object")
    if len(boxes) > options.max_boxes:
        raise SkipRow(f"more than {options.max_boxes} objects")
    asked = sorted({str(box["label"]) for box in boxes})
    image = row.image("file_name", options.folder)
    return [
        Sample(
            id=row.name, task="detection", prompt=", ".join(asked), images=(image,), gold={"boxes": boxes},
            group_id=f"image-{row.value('id')}", source=row.source,
        )
    ]  # fmt: skip
