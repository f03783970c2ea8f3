"""GenEval (arXiv 2310.11513): whether generated images show what their prompts ask for, by detected boxes.

The official detector and colour classifier are not part of this; whatever finds boxes can be evaluated: a model that
is asked for them, or the stored boxes of a detector, each with its `label`, perhaps a `score` and a `color`.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from reasoner_rm.data.row import DatasetRow, as_list
from reasoner_rm.data.tables import rows
from reasoner_rm.errors import InputError
from reasoner_rm.evaluation.answer_metrics import answer_accuracy
from reasoner_rm.evaluation.benchmark import Benchmark
from reasoner_rm.evaluation.protocol import Protocol
from reasoner_rm.schema import Sample
from reasoner_rm.tasks.parsing import last_element

MAX_OBJECTS, FARTHER = 16, 0.1
CONFIDENT, CONFIDENT_COUNTING = 0.3, 0.9
TAGS = ("single_object", "two_object", "counting", "colors", "position", "color_attr")


def per_image(file: Path) -> Iterable[tuple[int, Any]]:
    """Every image of every prompt: `evaluation_metadata.jsonl` beside folders `00000/samples/*.png`; or, in a prompt's
    own `metadata.jsonl`, beside its `samples`."""
    own = file.name == "metadata.jsonl"
    for number, row in rows(file):
        if isinstance(row, InputError):
            yield number, row
            continue
        folder = file.parent if own else file.parent / f"{number - 1:05d}"
        images = sorted((folder / "samples").glob("*.png"))
        if not images:
            yield number, InputError(f"no images in {folder.name}/samples", remedy="generate them first")
        for image in images:
            yield number, {**row, "place": folder.name, "image": str(image.relative_to(file.parent))}


def read(row: DatasetRow) -> Iterable[Sample]:
    classes = sorted({str(o["class"]) for o in [*row.items("include"), *(row.optional("exclude") or [])]})
    tag = row.one_of("tag", {t: t for t in TAGS})
    asked = {"tag": tag, "include": list(row.items("include")), "exclude": list(row.optional("exclude") or [])}
    place = str(row.value("place"))
    yield Sample(
        f"{place}-{Path(str(row.value('image'))).stem}", "detection", ", ".join(classes), images=(row.image("image"),),
        gold={"boxes": []}, group_id=place, source=row.source,
        meta={"asked": asked, "caption": row.text("prompt"), "by": {"group": tag}},
    )  # fmt: skip


def objects(text: str, sample: Sample) -> list[Mapping[str, Any]] | None:
    """The last JSON list of boxes, in `<answer>` or bare."""
    bare = (last_element(text, "answer") or text).strip().removeprefix("```json").strip("`")
    try:
        found = json.loads(bare)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, list):
        return None
    return [o for o in found if isinstance(o, dict) and _is_box(o.get("bbox_2d")) and _is_number(o.get("score", 1.0))]


def _is_box(value: object) -> bool:
    return isinstance(value, list) and len(value) == 4 and all(map(_is_number, value))


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and abs(value) < 1e9


def fits(found: Any, sample: Sample) -> float:
    """1 if the objects are as the prompt asks."""
    return float(not faults(found, sample.meta["asked"]))


def faults(found: Sequence[Mapping[str, Any]], asked: Mapping[str, Any]) -> list[str]:
    """What is wrong with an image, by its objects: too few of a class, another colour, another place, one too many."""
    least = CONFIDENT_COUNTING if asked["tag"] == "counting" else CONFIDENT
    by_class: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for o in sorted(found, key=lambda o: -float(o.get("score", 1.0))):
        if float(o.get("score", 1.0)) > least and len(by_class[str(o.get("label", ""))]) < MAX_OBJECTS:
            by_class[str(o.get("label", ""))].append(o)
    wrong: list[str] = []
    groups: list[list[Mapping[str, Any]] | None] = []
    for due in as_list(asked["include"], "include"):
        name, count = str(due["class"]), int(due["count"])
        mine, before = by_class[name][:count], len(wrong)
        if len(mine) < count:
            wrong.append(f"expected {name}>={count}, found {len(mine)}")
        elif due.get("color") and sum(o.get("color") == due["color"] for o in mine) < count:
            wrong.append(f"expected {due['color']} {name}>={count}")
        if due.get("position") and len(wrong) == before:
            relation, other = due["position"]
            target = groups[int(other)]
            if target is None:
                wrong.append(f"nothing for {name} to be {relation}")
            elif any(relation not in relations(o["bbox_2d"], t["bbox_2d"]) for o in mine for t in target):
                wrong.append(f"expected {name} {relation} its target")
        groups.append(mine if len(wrong) == before else None)
    wrong += [
        f"expected {due['class']}<{due['count']}"
        for due in asked.get("exclude", ())
        if len(by_class[str(due["class"])]) >= int(due["count"])
    ]
    return wrong


def relations(a: Sequence[float], b: Sequence[float]) -> set[str]:
    """Where box ``a`` is relative to ``b``, once a tenth of both sizes is taken off their distance."""
    one, two = (np.array(box, dtype=float).reshape(2, 2) for box in (a, b))
    offset = one.mean(0) - two.mean(0)
    sizes = np.abs(one[1] - one[0]) + np.abs(two[1] - two[0])
    beyond = np.maximum(np.abs(offset) - FARTHER * sizes, 0) * np.sign(offset)
    if np.all(np.abs(beyond) < 1e-3):
        return set()
    dx, dy = beyond / np.linalg.norm(offset)
    found = {"left of": dx < -0.5, "right of": dx > 0.5, "above": dy < -0.5, "below": dy > 0.5}
    return {name for name, holds in found.items() if holds}


GENEVAL = Benchmark(
    "geneval",
    "GenEval, metadata checker",
    read,
    columns=("tag", "include", "prompt"),
    licence="mit",
    tables=("evaluation_metadata.jsonl", "**/metadata.jsonl"),
    explode=per_image,
    protocols=(
        Protocol(
            "official", "the mean of the six tags' shares of right images, by the boxes that were found",
            average="macro", parser=objects, template="geneval", metric=answer_accuracy(fits),
        ),
    ),
)  # fmt: skip
