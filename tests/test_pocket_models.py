"""The shipped models of the shapes' world: what their records claim, and that the base is no judge yet."""

from __future__ import annotations

import json
from typing import Any

import pocket_skills
import pretrain_pocket
import pretraining

from data_recipes.pocket import Setting, samples
from reasoner_rm.evaluation import evaluate
from reasoner_rm.policy.loading import ASSETS, Vlm, load_vlm
from reasoner_rm.policy.prompts import PromptEncoder
from reasoner_rm.rollout.transformers_engine import TransformersEngine
from reasoner_rm.tasks.render import load_template


def record(name: str) -> dict[str, Any]:
    return json.loads((ASSETS / name / "pretraining.json").read_text())


def load(name: str) -> Vlm:
    return load_vlm(f"builtin:{name}", device="cpu", dtype="float32")


def test_they_are_small_and_of_different_making() -> None:
    sizes = {n: (ASSETS / n / "model.safetensors").stat().st_size for n in ("pocket-base", "pocket-listener")}
    assert sizes["pocket-base"] + sizes["pocket-listener"] <= 12e6
    base, listener = record("pocket-base"), record("pocket-listener")
    assert base["seed"] != listener["seed"] and base["split"] != listener["split"]
    assert sizes["pocket-base"] != sizes["pocket-listener"]


def test_the_base_has_the_skills_that_its_record_claims() -> None:
    vlm, claimed = load("pocket-base"), record("pocket-base")["log"][-1]
    world = pocket_skills.World("heldout", 56)
    found = pretraining.held_out(vlm, PromptEncoder(vlm), list(pocket_skills.BASE), world, n=100)
    for skill, share in found.items():
        assert share >= claimed[skill] - 0.15, (skill, share)
    assert found["describe"] > 0.35 and found["match"] > 0.65 and found["question"] > 0.5


def test_the_base_does_not_judge() -> None:
    vlm = load("pocket-base")
    engine = TransformersEngine(vlm, PromptEncoder(vlm))
    pairs = list(samples("image_preference", 40, 5, Setting(split="heldout")))
    figures = evaluate(engine, load_template("image_preference", "brief"), pairs, max_tokens=96).figures
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
