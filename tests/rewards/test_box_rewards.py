"""Rewards for boxes: what they pay, and that they are paid in pixels of the original image."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.ops import box_iou

from reasoner_rm import rewards
from reasoner_rm.config import GrpoSection
from reasoner_rm.models.loading import Vlm
from reasoner_rm.models.prompt_encoder import PromptEncoder
from reasoner_rm.rewards import score
from reasoner_rm.rewards.base import Reward
from reasoner_rm.rewards.boxes import predicted_boxes
from reasoner_rm.rewards.vlm_r1 import length_factor
from reasoner_rm.rollout import GenerationRequest, RolloutEngine, SamplingParams
from reasoner_rm.schema import Completion, RewardContext, Sample
from reasoner_rm.tasks.boxes import iou_matrix
from reasoner_rm.tasks.render import load_template
from reasoner_rm.training.grpo import GRPOTrainer

Box = tuple[float, float, float, float]
CUBE: Box = (0, 0, 100, 100)
BALL: Box = (200, 200, 300, 260)
HALF: Box = (0, 0, 100, 50)
FAR: Box = (500, 500, 600, 600)


def gold(*boxes: Box, task: str = "detection", label: str = "cube") -> Sample:
    items = [{"bbox_2d": list(box), "label": label} for box in boxes]
    return Sample("b", task, "cube", ("a.png",), gold={"boxes": items})


def said(*boxes: Box, label: str = "cube") -> str:
    items = [{"bbox_2d": list(box), "label": label} for box in boxes]
    return f"<think>I look.</think>\n<answer>{json.dumps(items)}</answer>"


def paid(name: str, text: str, sample: Sample, context: RewardContext | None = None, **params: Any) -> float | None:
    return score(name, text, sample, context, **params)["total"]


def test_one_box_earns_its_overlap() -> None:
    row = gold(CUBE, task="grounding")
    assert paid("rec_iou", said(CUBE), row) == 1
    assert paid("rec_iou", said(HALF), row) == pytest.approx(0.5)
    assert paid("rec_iou", said(HALF), row, hard=True) == 0
    assert paid("rec_iou", said((0, 0, 100, 51)), row, hard=True) == 1
    assert paid("rec_iou", said(CUBE, FAR), row) == 0
    assert score("vlm_r1_rec", said(HALF), row) == {"format": 1.0, "rec_iou": 0.5, "total": 1.5}


def test_overlap_is_torchvisions() -> None:
    rng = np.random.default_rng(0)
    a, b = (np.sort(rng.uniform(0, 1000, (2000, 2, 2)), axis=1).reshape(-1, 4) for _ in range(2))
    want = box_iou(torch.from_numpy(a), torch.from_numpy(b)).numpy()
    np.testing.assert_allclose(iou_matrix(a, b), want, atol=1e-12)


@pytest.mark.parametrize(
    ("found", "true", "map50", "mean"),
    [
        ((CUBE, BALL), (CUBE, BALL), 1, 1),
        ((CUBE,), (CUBE, BALL), 51 / 101, 51 / 101),
        ((FAR, CUBE), (CUBE,), 0.5, 0.5),
        ((CUBE, FAR), (CUBE,), 1, 1),  # what follows the last right box is free, here
        ((HALF,), (CUBE,), 1, 0.1),  # IoU 0.5: one of ten thresholds
        ((), (), 1, 1),
        ((), (CUBE,), 0, 0),
        ((CUBE,), (), 0, 0),
    ],
)
def test_average_precision_by_hand(found: tuple[Box, ...], true: tuple[Box, ...], map50: float, mean: float) -> None:
    assert paid("od_map50", said(*found), gold(*true)) == pytest.approx(map50)
    assert paid("od_map", said(*found), gold(*true)) == pytest.approx(mean)
    assert paid("od_length", said(*found), gold(*true)) == pytest.approx(mean * length_factor(len(true), len(found)))


def test_too_many_boxes_cost() -> None:
    assert length_factor(5, 10) * 0.6 == pytest.approx(0.30)
    assert length_factor(5, 3) * 0.6 == pytest.approx(0.60)
    assert paid("od_map", said(CUBE, *[FAR] * 9), gold(CUBE)) == 1
    assert paid("od_length", said(CUBE, *[FAR] * 9), gold(CUBE)) == pytest.approx(0.1)


def test_labels_are_compared_as_in_detection() -> None:
    assert paid("od_map", said(CUBE, label=" CUBE."), gold(CUBE)) == 1
    assert paid("od_map", said(CUBE, label="ball"), gold(CUBE)) == 0


# --- spaces ---

SIZES = {
    "processed": ((200, 100), (100, 50)),  # original, processed
    "normalized_1000": ((200, 100), (56, 28)),
}
THERE: dict[str, Box] = {"processed": (25, 10, 75, 40), "normalized_1000": (250, 200, 750, 800)}
"""One and the same box of the original, (50, 20) to (150, 80), as two model families write it."""


@pytest.mark.parametrize("space", ["processed", "normalized_1000"])
@pytest.mark.parametrize("name", ["accuracy", "rec_iou", "od_map", "od_map50", "od_length"])
def test_boxes_are_paid_in_original_pixels(name: str, space: Any) -> None:
    row = gold((50, 20, 150, 80), task="grounding" if name == "rec_iou" else "detection")
    context = RewardContext(image_sizes=(SIZES[space],), box_space=space)
    assert paid(name, said(THERE[space]), row, context) == pytest.approx(1)
    assert (paid(name, said((50, 20, 150, 80)), row, context) or 0) < 0.5
    assert paid(name, said((50, 20, 150, 80)), row) == 1


@pytest.mark.parametrize("family", ["tiny", "tiny_qwen3"])
def test_each_sample_brings_its_own_image_size_to_the_reward(
    family: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A policy that boxes the whole image, in its family's space, is right on every image of a window."""
    vlm: Vlm = request.getfixturevalue(family)
    rng = np.random.default_rng(0)
    pictures = [Image.fromarray(rng.integers(0, 256, (h, w, 3), dtype=np.uint8)) for w, h in ((90, 61), (47, 130))]
    samples = [
        Sample(str(i), "detection", "noise", (image,), gold={"boxes": [{"bbox_2d": [0, 0, *image.size], "label": "x"}]})
        for i, image in enumerate(pictures)
    ]
    encoder = PromptEncoder(vlm)

    class Sure(RolloutEngine):
        """Says that the one object fills the image."""

        def generate(self, requests: list[GenerationRequest], sampling: SamplingParams) -> list[tuple[Completion, ...]]:
            groups = []
            for asked in requests:
                width, height = encoder.encode(asked.prompt).images[0].processed
                side = (width, height) if vlm.family.box_space == "processed" else (1000, 1000)
                text = said((0, 0, *side), label="x")
                groups.append((Completion(text, (1, 2), (0.0, 0.0), "stop"),) * 2)
            return groups

    seen = []

    def watched(group: Any, parsed: Any, context: RewardContext) -> list[float | None]:
        seen.append((group.sample.images[0].size, predicted_boxes(parsed[0], group.sample, context).xyxy.tolist()))  # type: ignore[union-attr]
        return [0.0] * len(parsed)

    monkeypatch.setitem(rewards.REWARDS, "watched", Reward("watched", (0.0, 1.0), watched))
    rows: list[dict[str, float]] = []
    section = GrpoSection(
        rewards={"od_map": 1.0, "accuracy": 1.0, "watched": 0.0},
        prompts_per_device=2, gradient_accumulation_steps=1, num_generations=2, max_steps=1, beta=0.0,
    )  # fmt: skip
    GRPOTrainer(
        vlm, load_template("detection", "brief"), samples, section, engine=Sure(), encoder=encoder,  # type: ignore[arg-type]
        listener=None, log=lambda step, row: rows.append(row), seed=0,
    ).train()  # fmt: skip
    assert rows[0]["reward/od_map"] == rows[0]["reward/accuracy"] == 1
    assert sorted(size for size, _ in seen) == [(47, 130), (90, 61)]
    for size, boxes in seen:
        np.testing.assert_allclose(boxes, [[0, 0, *size]])
