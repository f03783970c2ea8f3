"""Pre-trains the tiny models that `reasoner-rm pocket` starts from.

    python scripts/pretrain_pocket.py base         # describe, point, match, count; no judging
    python scripts/pretrain_pocket.py listener     # other seed, size, scenes; answers after right and wrong reasonings
    python scripts/pretrain_pocket.py base-qwen3   # the base's skills in the Qwen3-VL architecture

The vision tower is trained first (`pretrain_vision`), then the language model to describe images (the listener: to
match texts), then all skills together. Each model is written to `reasoner_rm/models/assets/`, with its log and the
held-out metrics of every skill. The base model is trained on `train` scenes and without verdicts on pairs; the listener
has its own split of scenes.
"""

from __future__ import annotations

import argparse
import json
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pocket_skills import BASE, LISTENER, PAIRS, SEEING, WORDS, WRONG, World
from pretrain_vision import train_vision
from pretraining import Mixture, Phase, save, train

from data_recipes.pocket import building, questions
from data_recipes.pocket.drafts import Setting
from data_recipes.pocket.scenes import COLOURS, SHAPES, Split
from reasoner_rm.evaluation.calibration import calibration
from reasoner_rm.listener import frozen_listener
from reasoner_rm.models.families import FAMILIES
from reasoner_rm.models.loading import ASSETS, load_vlm, prepare
from reasoner_rm.models.tiny import TinySize, build, build_processor, train_tokenizer
from reasoner_rm.tasks import get_task
from reasoner_rm.tasks.render import load_template

RATE = 2e-3


@dataclass(frozen=True)
class Role:
    """A model to train: seed, shape, split of the scenes, steps of the vision tower, and phases."""

    seed: int
    size: TinySize
    split: Split
    tower: int
    phases: tuple[Phase, ...]


def phase(name: str, skills: Mixture, steps: int) -> Phase:
    return Phase(name, skills, steps, 64, RATE, vision=0.2)


ROLES = {
    "base": Role(
        31,
        TinySize(layers=4),
        "train",
        1000,
        (
            phase("seeing", SEEING, 350),
            phase("everything", BASE, 1400),
            phase("pairs", PAIRS, 1600),
            phase("anywhere", PAIRS, 1500),
        ),
    ),
    "listener": Role(
        47,
        TinySize(layers=3, intermediate=512, vision_hidden=64),
        "listener",
        1000,
        (phase("words", WORDS, 200), phase("everything", LISTENER, 1400), phase("anywhere", LISTENER, 900)),
    ),
    "base-qwen3": Role(
        59,
        TinySize("qwen3_vl", layers=3, image_side=64),
        "train",
        700,
        (phase("seeing", SEEING, 300), phase("everything", BASE, 900), phase("anywhere", BASE, 700)),
    ),
}


def corpus() -> Iterator[str]:
    """Texts whose words become single tokens of the tokenizer: prompts and targets of all tasks and skills.

    No tag precedes a word directly; otherwise `>red` would become a token, and the options would not be single tokens.
    """
    rng, world = random.Random(0), World("train", 56)
    for skill in (World.describe, World.point, World.question, World.match, World.shown):
        for _ in range(200):
            row = skill(world, rng)
            yield "".join(c for c in row.prompt.content if isinstance(c, str))
            yield row.reply
    for task in building.MAKERS:
        yield from re.split(r"[<>]", load_template(task, "brief").text) * 20
        for i in range(200):
            draft = building.draft(task, i, 0, Setting())
            yield from (draft.prompt, *re.split(r"[<>]", draft.target), *draft.responses)
    yield from ["system\nYou are a helpful assistant.\nuser\nassistant\n", "<think", "<answer", "</"] * 100
    yield from [*COLOURS, *SHAPES, *questions.YES_NO] * 50


def heard(folder: Path, n: int = 600) -> dict[str, Any]:
    """Accuracy and calibration of a listener on unseen scenes, after correct, wrong and mixed reasonings."""
    vlm, world = load_vlm(folder, dtype="float32"), World("heldout", 56)
    figures: dict[str, Any] = {}
    for said in (World.heard_pair, World.heard_answer):
        for kind, wrong in (("right", 0.0), ("wrong", 1.0), ("mixed", WRONG)):
            rng = random.Random(f"heard/{said.__name__}/{kind}")
            samples, texts = zip(*(said(world, rng, wrong) for _ in range(n)), strict=True)
            listener = frozen_listener(vlm, load_template(samples[0].task, "brief"))
            beliefs = [row[0] for row in listener.beliefs(samples, [[text] for text in texts])]
            truth = [np.argmax(get_task(s.task).gold_probs(s)) for s in samples]
            found = calibration([b.probs for b in beliefs], truth)
            right = [np.argmax(b.probs) == t for b, t in zip(beliefs, truth, strict=True)]
            belief = [b.probs[t] for b, t in zip(beliefs, truth, strict=True)]
            figures[f"{said.__name__}/{kind}"] = {
                "accuracy": round(float(np.mean(right)), 4),
                "belief_in_truth": round(float(np.mean(belief)), 4),
                "ece": found.ece,
                "brier": found.brier,
            }
    return figures


def pretrain(name: str, out: Path, begun: Path | None = None, tower: int = 0) -> None:
    """Train one of the models and write it with its log.

    Args:
        begun: the folder of an earlier call; only the remaining phases are run.
        tower: the steps of the vision tower before those.
    """
    role = ROLES[name]
    torch.manual_seed(role.seed)
    size = role.size
    if begun is None:
        tokenizer = train_tokenizer(corpus())
        vlm = prepare(build(size, tokenizer, role.seed), build_processor(size, tokenizer), FAMILIES[size.family], name)
    else:
        vlm = load_vlm(begun, dtype="float32")
    thousand = vlm.family.box_space == "normalized_1000"
    world, unseen = (World(split, size.image_side, thousand) for split in (role.split, "heldout"))
    record = {"role": name, "seed": role.seed, "split": role.split, "rate": RATE}
    seen = [] if begun is None else json.loads((begun / "pretraining.json").read_text())["log"]
    if steps := role.tower if begun is None else tower:
        seen += train_vision(vlm, world.picture, unseen.picture, world.side, role.seed, steps=steps, rate=RATE)
    ahead = [phase for phase in role.phases if phase.name not in {line["phase"] for line in seen}]
    log = train(vlm, ahead, world, unseen, role.seed, keep=lambda log: save(vlm, out, record | {"log": seen + log}))
    if name == "listener":
        save(vlm, out, record | {"heard": heard(out), "log": seen + log})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("role", choices=ROLES)
    parser.add_argument("--out", type=Path)
    parser.add_argument(
        "--go-on", type=Path, metavar="FOLDER", help="continue with a model that has not completed all phases"
    )
    parser.add_argument(
        "--tower", type=int, default=0, help="with --go-on: train the vision tower again, so many steps"
    )
    args = parser.parse_args()
    torch.set_num_threads(1)
    pretrain(args.role, args.out or ASSETS / f"pocket-{args.role}", args.go_on, args.tower)
