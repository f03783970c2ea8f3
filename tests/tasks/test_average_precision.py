"""Average precision against COCO's own code, pycocotools, on random images."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from reasoner_rm.tasks.average_precision import COCO_THRESHOLDS, MAX_DETECTIONS, average_precision
from reasoner_rm.tasks.boxes import Boxes

pytestmark = pytest.mark.slow  # thousands of random cases against an oracle

CASES = 2000


def coco(found: Sequence[Boxes], true: Sequence[Boxes], scores: Sequence[Any]) -> Any:
    """AP at each threshold [T] as pycocotools has it."""
    names = sorted({label for boxes in (*found, *true) for label in boxes.labels})

    def rows(boxes: Boxes, image: int) -> list[dict[str, Any]]:
        sides = [[b[0], b[1], b[2] - b[0], b[3] - b[1]] for b in boxes.xyxy.tolist()]
        return [
            {"image_id": image, "category_id": names.index(name), "bbox": box, "area": box[2] * box[3], "iscrowd": 0}
            for box, name in zip(sides, boxes.labels, strict=True)
        ]

    with contextlib.redirect_stdout(io.StringIO()):
        gold = COCO()
        annotations = [row for i, boxes in enumerate(true) for row in rows(boxes, i)]
        gold.dataset = {
            "images": [{"id": i} for i in range(len(found))],
            "annotations": [row | {"id": n} for n, row in enumerate(annotations, start=1)],
            "categories": [{"id": i} for i in range(len(names))],
        }
        gold.createIndex()
        said = [
            row | {"score": float(score)}
            for i, boxes in enumerate(found)
            for row, score in zip(rows(boxes, i), scores[i], strict=True)
        ]
        evaluation = COCOeval(gold, gold.loadRes(said), "bbox")
        areas, most = evaluation.params.areaRng[:1], evaluation.params.maxDets[-1:]
        evaluation.params.areaRng, evaluation.params.areaRngLbl, evaluation.params.maxDets = areas, ["all"], most
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"][:, :, :, 0, -1]  # thresholds, recalls, categories; area all, 100 boxes
    return np.array([row[row > -1].mean() if (row > -1).any() else np.nan for row in precision])


def draw(rng: np.random.Generator, most: int, names: Sequence[str]) -> Boxes:
    """Boxes on a coarse grid, often a tiny one, so that equal overlaps and exact thresholds happen."""
    n, steps = int(rng.integers(0, most + 1)), int(rng.choice([3, 12]))
    corner, size = rng.integers(0, steps, (n, 2)) * 10, rng.integers(2, 8, (n, 2)) * 10 if steps > 3 else 40
    size = np.broadcast_to(size, (n, 2))
    return Boxes(np.hstack([corner, corner + size]).astype(float), tuple(rng.choice(names, n).tolist()))


def near(rng: np.random.Generator, boxes: Boxes) -> Boxes:
    if rng.random() < 0.5:
        return boxes
    return Boxes(boxes.xyxy + rng.integers(-6, 7, boxes.xyxy.shape), boxes.labels)


def joined(a: Boxes, b: Boxes) -> Boxes:
    return Boxes(np.vstack([a.xyxy, b.xyxy]), (*a.labels, *b.labels))


def test_it_is_cocos_on_random_images() -> None:
    rng = np.random.default_rng(0)
    compared = 0
    while compared < CASES:
        names = ["cube", "ball", "cone"][: rng.integers(1, 4)]
        true = [draw(rng, 5, names) for _ in range(rng.integers(1, 4))]
        found = [joined(draw(rng, 4, names), near(rng, boxes)) for boxes in true]
        if not any(map(len, found)):
            continue  # pycocotools takes no empty list
        scores = [rng.integers(1, 5, len(f)) / 4 if compared % 2 else np.ones(len(f)) for f in found]
        np.testing.assert_allclose(
            average_precision(found, true, scores), coco(found, true, scores), atol=1e-9, err_msg=str(compared)
        )
        compared += 1


def test_only_the_best_hundred_boxes_count() -> None:
    one = Boxes(np.array([[0.0, 0, 10, 10]]), ("a",))
    far = np.tile([[50.0, 50, 60, 60]], (MAX_DETECTIONS, 1))
    many = Boxes(np.vstack([far, one.xyxy]), ("a",) * (MAX_DETECTIONS + 1))
    scores = [np.ones(MAX_DETECTIONS + 1)]
    assert average_precision([many], [one], scores).tolist() == coco([many], [one], scores).tolist() == [0.0] * 10


def test_nothing_true_has_no_precision() -> None:
    nothing = Boxes(np.zeros((0, 4)), ())
    assert np.isnan(average_precision([nothing], [nothing])).all()
    one = Boxes(np.array([[0.0, 0, 10, 10]]), ("a",))
    assert average_precision([nothing], [one]).tolist() == [0.0] * 10
    assert average_precision([nothing, one], [nothing, one]).tolist() == pytest.approx([1.0] * 10)
    assert len(COCO_THRESHOLDS) == 10 and COCO_THRESHOLDS[0] == 0.5
