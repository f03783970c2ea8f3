"""Vision-R1's criteria: matching against trying every assignment, overlaps against torchvision, stages, negatives."""

from __future__ import annotations

import itertools
import json
from typing import Any

import numpy as np
import pytest
import torch
from torchvision.ops import box_iou, generalized_box_iou

from reasoner_rm.rewards import score
from reasoner_rm.rewards.vision_r1 import matching, overlaps
from reasoner_rm.schema import RewardContext, Sample
from reasoner_rm.tasks.boxes import Boxes

CASES = 2000
CUBE, BALL = (0, 0, 100, 100), (200, 200, 300, 300)


def draw(rng: np.random.Generator, n: int) -> Boxes:
    corner, size = rng.integers(0, 200, (n, 2)), rng.integers(5, 100, (n, 2))
    return Boxes(np.hstack([corner, corner + size]).astype(float), tuple(rng.choice(["a", "b"], n).tolist()))


@pytest.mark.parametrize("kind", ["iou", "giou"])
def test_matching_is_the_cheapest_assignment(kind: Any) -> None:
    """Against every permutation of up to five boxes."""
    rng = np.random.default_rng(0)
    for _ in range(CASES // 2):
        found, gold = draw(rng, int(rng.integers(1, 6))), draw(rng, int(rng.integers(1, 6)))
        corners = np.abs(found.xyxy[:, None] - gold.xyxy).sum(-1)
        same = np.array([[a == b for b in gold.labels] for a in found.labels], dtype=float)
        cost = corners - same - overlaps(found.xyxy, gold.xyxy, kind)
        rows, columns = matching(found, gold, kind)
        assert len(rows) == min(len(found), len(gold)) == len(set(rows)) == len(set(columns))
        wide = cost if cost.shape[0] <= cost.shape[1] else cost.T
        best = min(
            sum(wide[i, c] for i, c in enumerate(p)) for p in itertools.permutations(range(wide.shape[1]), len(wide))
        )
        assert cost[rows, columns].sum() == pytest.approx(best)


def test_overlaps_are_torchvisions() -> None:
    rng = np.random.default_rng(1)
    a, b = draw(rng, CASES).xyxy, draw(rng, 20).xyxy
    for kind, oracle in (("iou", box_iou), ("giou", generalized_box_iou)):
        want = oracle(torch.from_numpy(a), torch.from_numpy(b)).numpy()
        np.testing.assert_allclose(overlaps(a, b, kind), want, atol=1e-12)  # type: ignore[arg-type]


def gold(*boxes: Any, label: str = "cube") -> Sample:
    items = [{"bbox_2d": list(b), "label": label} for b in boxes]
    return Sample("b", "detection", "cube", ("a.png",), gold={"boxes": items})


def stated(*boxes: Any, label: str = "cube") -> str:
    return json.dumps([{"bbox_2d": list(b), "label": label} for b in boxes])


def parts(text: str, row: Sample, name: str = "vision_r1", **more: Any) -> list[float | None]:
    return list(score(name, text, row, **more).values())


def test_the_three_criteria_on_bare_fenced_and_contained_answers() -> None:
    text = stated(CUBE, BALL)
    for form in (text, f"```json\n{text}\n```", f"<think>x</think><answer>{text}</answer>"):
        assert parts(form, gold(CUBE, BALL)) == [1, 1, 1, 3]
    for broken in (text[:-1], "two cubes", f"Here they are: {text}", "<answer>" + text):
        assert parts(broken, gold(CUBE, BALL)) == [0, 0, 0, 0]


def test_nothing_there() -> None:
    """The paper turns the format reward around; babble is paid by the released form alone."""
    assert parts("[]", gold()) == [1, 1, 1, 3]
    assert parts(stated(CUBE), gold()) == [0, 0, 0, 0]
    assert parts("no cube", gold()) == [0, 0, 0, 0]
    assert [score("dual_format_released", t, gold())["total"] for t in ("[]", "no cube", stated(CUBE))] == [0, 1, 0]
    assert [score("dual_format_released", t, gold(CUBE))["total"] for t in ("[]", stated(CUBE))] == [1, 1]
    assert parts("[]", gold(CUBE)) == [0, 0, 0, 0]


def test_boxes_outside_the_image_are_no_legal_content() -> None:
    context = RewardContext(image_sizes=(((200, 100), (100, 50)),))
    for box, legal in (((0, 0, 50, 50), 1), ((0, 0, 100.4, 50), 1), ((0, 0, 110, 50), 0), ((-9, 0, 50, 50), 0)):
        assert score("dual_format", stated(box), gold(CUBE), context)["total"] == legal
        assert score("dual_format_released", stated(box), gold(CUBE), context)["total"] == 1


def test_superfluous_boxes_cost_unless_pairs_alone_count() -> None:
    text, far = stated(CUBE, *[(500, 500, 510, 510)] * 3), gold(CUBE)
    assert parts(text, far) == [1, 1, 0.25, 2.25]
    assert parts(text, far, over="matched") == [1, 1, 1, 3]
    assert parts(text, far, "vision_r1_det_released") == [1, 1, 1, 3]


def test_labels_count() -> None:
    assert parts(stated(CUBE, label="ball"), gold(CUBE)) == [1, 0, 0, 1]
    assert parts(stated(CUBE, label="ball"), gold(CUBE), "vision_r1_det_released") == [1, 1, 1, 3]
    assert parts(stated(CUBE, label="Cube."), gold(CUBE)) == [1, 1, 1, 3]


def test_the_overlap_may_be_the_generalised_one() -> None:
    half = (50, 50, 150, 150)  # IoU 1/7 with CUBE, GIoU below 0
    plain = {"beginner": (0.0, 0.0, 1.0)}
    assert score("box_precision", stated(half), gold(CUBE), **plain)["total"] == pytest.approx(2500 / 17500)
    assert score("box_precision", stated(half), gold(CUBE), overlap="giou", **plain)["total"] == 0


LOOSE = stated((0, 0, 100, 70))  # IoU 0.7: found and paid in the first stage, not in the second


@pytest.mark.parametrize(
    ("params", "context", "paid"),
    [
        ({}, RewardContext(step=10**6, progress=1.0), 1.7),
        ({"switch_step": 100}, RewardContext(step=99), 1.7),
        ({"switch_step": 100}, RewardContext(step=100), 0),
        ({"switch_share": 0.5}, RewardContext(progress=0.49), 1.7),
        ({"switch_share": 0.5}, RewardContext(progress=0.5), 0),
        ({"switch_cleared": 0.75}, RewardContext(best_means={"vision_r1/recall": 0.9}), 1.7),
        (
            {"switch_cleared": 0.75},
            RewardContext(best_means={"vision_r1/recall": 0.75, "vision_r1/precision": 0.8}),
            0,
        ),
    ],
)
def test_the_second_stage_is_stricter(params: dict[str, Any], context: RewardContext, paid: float) -> None:
    _, recall, precision, _ = parts(LOOSE, gold(CUBE), context=context, **params)
    assert (recall or 0) + (precision or 0) == pytest.approx(paid)
