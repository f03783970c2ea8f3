"""The shipped models of the shapes' world: what their records claim, and that the bases are no judges yet."""

from __future__ import annotations

import json
import random
from typing import Any

import numpy as np
import pocket_skills
import pretrain_pocket
import pretraining
import pytest

from data_recipes.pocket import Setting, samples
from reasoner_rm.evaluation import evaluate
from reasoner_rm.models.loading import ASSETS, Vlm, load_vlm
from reasoner_rm.models.prompt_encoder import PromptEncoder
from reasoner_rm.rollout import GenerationRequest, SamplingParams
from reasoner_rm.rollout.transformers_engine import TransformersEngine
from reasoner_rm.tasks.boxes import iou_matrix, to_original
from reasoner_rm.tasks.render import load_template

pytestmark = pytest.mark.engine

BASES = ("pocket-base", "pocket-base-qwen3")


def record(name: str) -> dict[str, Any]:
    return json.loads((ASSETS / name / "pretraining.json").read_text())


def unseen(name: str) -> pocket_skills.World:
    side, thousand = (64, True) if name.endswith("qwen3") else (56, False)
    return pocket_skills.World("heldout", side, thousand)


def load(name: str) -> Vlm:
    return load_vlm(f"builtin:{name}", device="cpu", dtype="float32")


def test_they_are_small_and_of_different_making() -> None:
    names = (*BASES, "pocket-listener")
    sizes = {n: (ASSETS / n / "model.safetensors").stat().st_size for n in names}
    assert sum(sizes.values()) <= 12e6
    base, listener = record("pocket-base"), record("pocket-listener")
    assert base["seed"] != listener["seed"] and base["split"] != listener["split"]
    assert sizes["pocket-base"] != sizes["pocket-listener"]


@pytest.mark.parametrize("name", BASES)
def test_a_base_has_the_skills_that_its_record_claims(name: str) -> None:
    vlm, claimed = load(name), record(name)["log"][-1]
    found = pretraining.held_out(vlm, PromptEncoder(vlm), list(pocket_skills.BASE), unseen(name), n=100)
    for skill, share in found.items():
        assert share >= claimed[skill] - 0.15, (skill, share)


@pytest.mark.parametrize("name", BASES)
def test_a_base_points_at_things_in_its_familys_own_numbers(name: str) -> None:
    """In words of its own: it is asked, it answers, and the family's adapter says where in the image that is."""
    vlm, world, rng = load(name), unseen(name), random.Random(0)
    encoder, seen = PromptEncoder(vlm), []
    while len(seen) < 24:
        level, scene = world.scene(rng)
        picture, thing = world.drawn(rng, scene, level), scene.things[0]
        if scene.grid == 2:
            prompt = pretraining.ask(f"Where is the {thing.colour} {thing.shape}?", [picture.image(world.side)])
            seen.append((picture, GenerationRequest(prompt, (0,))))
    answers = TransformersEngine(vlm, encoder).generate(
        [r for _, r in seen], SamplingParams(temperature=0.0, max_tokens=64)
    )
    overlaps = []
    for (picture, request), (answer,) in zip(seen, answers, strict=True):
        boxes = np.array([json.loads(answer.text)[0]["bbox_2d"]], dtype=float)
        boxes = to_original(boxes, vlm.family.box_space, *encoder.sizes(request.prompt.images[0]))
        overlaps.append(iou_matrix(boxes, np.array([picture.box(0, world.side)], dtype=float))[0, 0])
    assert np.median(overlaps) > 0.5, sorted(overlaps)


@pytest.mark.parametrize("name", BASES)
def test_a_base_does_not_judge(name: str) -> None:
    vlm = load(name)
    engine = TransformersEngine(vlm, PromptEncoder(vlm))
    pairs = list(samples("image_preference", 40, 5, Setting(split="heldout", side=unseen(name).side)))
    figures = evaluate(engine, load_template("image_preference", "brief"), pairs, max_tokens=96).metrics
    assert figures.accuracy is not None and figures.accuracy < 0.6


def test_the_listener_listens_and_looks() -> None:
    """After a right reasoning it is right; a wrong one shakes its belief; it knows how often it is right."""
    claimed = record("pocket-listener")["heard"]
    found = pretrain_pocket.heard(ASSETS / "pocket-listener", n=150)
    for kind, figures in found.items():
        assert abs(figures["accuracy"] - claimed[kind]["accuracy"]) < 0.12, kind
    assert found["heard_pair/right"]["accuracy"] > 0.95
    assert found["heard_pair/wrong"]["belief_in_truth"] < found["heard_pair/right"]["belief_in_truth"] - 0.1
    assert found["heard_pair/mixed"]["ece"] < 0.1 and found["heard_answer/mixed"]["ece"] < 0.15
