"""Pre-trains the tiny models that `reasoner-rm pocket` starts from.

    python scripts/pretrain_pocket.py base         # sees, describes, points, matches, counts a little; is no judge
    python scripts/pretrain_pocket.py listener     # other seed, size, scenes; answers after right and wrong reasonings
    python scripts/pretrain_pocket.py base-qwen3   # the base's skills in the Qwen3-VL architecture

A tower learns to see first (`pretrain_vision`), then words alone teach matching, then everything comes together.
Each is written to `reasoner_rm/policy/assets/`, with its log and the held-out figures of every skill. The base sees
`train` scenes only and never two images being judged; the listener has a split of scenes to itself.
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
from pretrain_vision import train_vision
from pretraining import Mixture, Phase, Row, ask, save, train

from data_recipes.pocket import building, claims, questions
from data_recipes.pocket.claims import NUMBERS, noun
from data_recipes.pocket.corruptions import CORRUPTIONS, contrast, other
from data_recipes.pocket.drafts import Setting
from data_recipes.pocket.drawing import Picture
from data_recipes.pocket.places import reading
from data_recipes.pocket.questions import place
from data_recipes.pocket.scenes import COLOURS, LEVELS, SHAPES, SIZES, Level, Scene, Split, compose
from reasoner_rm.evaluation.calibration import calibration
from reasoner_rm.listener.transformers_listener import TransformersListener
from reasoner_rm.policy.families import FAMILIES
from reasoner_rm.policy.loading import ASSETS, load_vlm, wrap
from reasoner_rm.policy.tiny import TinySize, build, build_processor, train_tokenizer
from reasoner_rm.schema import Sample
from reasoner_rm.tasks import get_task
from reasoner_rm.tasks.render import load_template, render

VOCABULARIES = (COLOURS, SHAPES, SIZES, *claims.RELATIONS, NUMBERS[1:])
"""What a careless reader confuses: words of one row."""
WRONG = 0.35
"""How often the reasoning that a listener is taught with says something false; it may still lead to the truth."""


@dataclass(frozen=True)
class World:
    """Rows of every skill, from one split of the pocket world. A thousand by a thousand is Qwen3-VL's box space."""

    split: Split
    side: int
    thousand: bool = False

    # --- seeing -------------------------------------------------------------------------------------------------

    def describe(self, rng: random.Random) -> Row:
        """What stands where, in reading order, in one image or two."""
        said, images = [], []
        for k in range(1, rng.choice((1, 1, 2)) + 1):
            level, scene = self.scene(rng)
            seen = (scene.things[i] for i in reading(scene, range(len(scene.things))))
            things = [f"{noun(t, LEVELS[level].sized).a} at the {place(t, scene.grid)}" for t in seen]
            said.append(f"Image {k} shows {', '.join(things)}.")
            images.append(self.drawn(rng, scene, level).image(self.side))
        return Row(ask(rng.choice(("Describe each image.", "What does each image show?")), images), " ".join(said))

    def point(self, rng: random.Random) -> Row:
        """The box of every thing, or of one that is named."""
        level, scene = self.scene(rng)
        picture, order = self.drawn(rng, scene, level), reading(scene, range(len(scene.things)))
        text = "List all things."
        if rng.random() < 0.5:
            order = [rng.choice(order)]
            text = f"Where is the {noun(scene.things[order[0]], sized=False)}?"
        boxes = [{"bbox_2d": self.box(picture, i), "label": str(noun(scene.things[i], sized=False))} for i in order]
        return Row(ask(text, [picture.image(self.side)]), json.dumps(boxes, separators=(",", ":")))

    def question(self, rng: random.Random) -> Row:
        """A simple question, answered in a word."""
        asker = rng.choice(list(questions.SIMPLE.values()))
        yes = rng.random() < 0.5
        while True:
            level, scene = self.scene(rng)
            if asked := asker(rng, scene, False, yes):
                return Row(ask(asked.text, [self.drawn(rng, scene, level).image(self.side)]), asked.answer)

    def shown(self, rng: random.Random) -> Row:
        """What one image shows of a caption, in the caption's words, and whether that is what it asks for."""
        level, right, claim, wrong, found = self.contrast(rng)
        fits = rng.random() < 0.5
        image = self.drawn(rng, right if fits else wrong, level).image(self.side)
        text = f"Caption: {claims.caption(claim, rng, ood=False)}\nDoes the image fit?"
        return Row(ask(text, [image]), compared(str(claim), [str(claim if fits else found)]))

    # --- words alone --------------------------------------------------------------------------------------------

    def match(self, rng: random.Random) -> Row:
        """Whether what was seen is what was asked for."""
        claim = self.contrast(rng)[2]
        asked = str(claim)
        seen = [asked if rng.random() < 0.45 else misread(asked, rng) for _ in range(rng.choice((1, 2)))]
        told = " ".join(f"Image {k} shows {text}." for k, text in enumerate(seen, start=1))
        caption = claims.caption(claim, rng, ood=False)
        return Row(ask(f"{told}\nCaption: {caption}\nWhich image fits?"), compared(asked, seen))

    # --- the listener's own: a verdict after a reasoning ----------------------------------------------------------

    def hear_pair(self, rng: random.Random) -> Row:
        """Which image is better, after a reasoning that is wrong one time in three."""
        sample, said = self.heard_pair(rng, WRONG)
        return _verdict(sample, f"{said}\n<answer>Image ", f"{sample.meta['truth']} is better</answer>")

    def hear_answer(self, rng: random.Random) -> Row:
        """The answer to a question, after a reasoning that is wrong one time in three."""
        sample, said = self.heard_answer(rng, WRONG)
        return _verdict(sample, f"{said}\n<answer>", f"{sample.gold['answer']}</answer>")

    def heard_pair(self, rng: random.Random, wrong: float) -> tuple[Sample, str]:
        """A pair and a reasoning about it that says something false with the chance ``wrong``."""
        level, right, claim, other_scene, found = self.contrast(rng)
        seen = [(right, str(claim)), (other_scene, str(found))]
        rng.shuffle(seen)
        said = [text for _, text in seen]
        if rng.random() < wrong:
            k = rng.randrange(2)
            said[k] = rng.choice((str(claim), str(found), misread(said[k], rng)))
        images = tuple(self.drawn(rng, scene, level).image(self.side) for scene, _ in seen)
        truth = 1 if seen[0][0] is right else 2
        sample = Sample(
            id="",
            task="image_preference",
            prompt=claims.caption(claim, rng, ood=False),
            images=images,
            gold={"p_first": float(truth == 1)},
            meta={"truth": truth},
        )
        return sample, f"<think>{compared(str(claim), said)}</think>"

    def heard_answer(self, rng: random.Random, wrong: float) -> tuple[Sample, str]:
        """A question and a reasoning about it that says something false with the chance ``wrong``."""
        setting = Setting(split=self.split, side=self.side)
        while True:
            scene, level, _, question = questions.ask(rng, setting)
            if question.choices:
                break
        said = misread(question.reasoning, rng) if rng.random() < wrong else question.reasoning
        image = self.drawn(rng, scene, level).image(self.side)
        sample = Sample(
            id="",
            task="qa",
            prompt=question.text,
            images=(image,),
            gold={"answer": question.answer, "kind": "choice"},
            meta={"choices": list(question.choices)},
        )
        return sample, f"<think>{said}</think>"

    # --- scenes -------------------------------------------------------------------------------------------------

    def scene(self, rng: random.Random) -> tuple[Level, Scene]:
        level: Level = rng.choice((1, 2, 3))
        return level, compose(rng, self.split, level)

    def picture(self, rng: random.Random) -> Picture:
        level, scene = self.scene(rng)
        return self.drawn(rng, scene, level)

    def contrast(self, rng: random.Random) -> tuple[Level, Scene, Any, Scene, Any]:
        level: Level = rng.choice((1, 2, 3))
        return level, *contrast(rng, self.split, level, rng.choice(CORRUPTIONS))

    def drawn(self, rng: random.Random, scene: Scene, level: Level) -> Picture:
        return Picture(scene, Setting(split=self.split).look(rng, level))

    def box(self, picture: Picture, index: int) -> list[int]:
        """Where a thing is, in the numbers that the family writes."""
        x = picture.box(index, self.side)
        return [round(v * 1000 / self.side) for v in x] if self.thousand else x


def _verdict(sample: Sample, given: str, reply: str) -> Row:
    return Row(render(sample, load_template(sample.task, "brief")), reply, given)


def compared(asked: str, seen: list[str]) -> str:
    """What was asked for, what each image shows, and whether it fits: what a judge's reasoning is made of."""
    fits = ("yes" if text == asked else "no" for text in seen)
    told = (claims.against(text, asked) for text in seen)
    said = (f"Image {k} shows {t}: {fit}." for k, (t, fit) in enumerate(zip(told, fits, strict=True), start=1))
    return f"The caption asks for {asked}. {' '.join(said)}"


def misread(text: str, rng: random.Random) -> str:
    """The text with one of its words taken for another of the same kind.

    >>> misread("a red circle", random.Random(1)) != "a red circle"
    True
    """
    found = [(m, row) for row in VOCABULARIES for word in row for m in re.finditer(rf"\b{word}(?=s?\b|es\b)", text)]
    match, row = rng.choice(found)
    text = text[: match.start()] + other(rng, row, match.group()) + text[match.end() :]
    return re.sub(r"\ban? (?=\w)", lambda m: f"{claims.article(text[m.end() :])} ", text)


# --- models -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Role:
    """A model to be made: its seed, its shape, the scenes it sees."""

    seed: int
    size: TinySize
    split: Split


ROLES = {
    "base": Role(31, TinySize(hidden=128, layers=4), "train"),
    "listener": Role(47, TinySize(hidden=128, layers=3, intermediate=512, vision_hidden=64), "listener"),
    "base-qwen3": Role(59, TinySize("qwen3_vl", hidden=128, layers=3, image_side=64), "train"),
}
WORDS: Mixture = {World.match: 1}
SEEING: Mixture = {World.describe: 4, World.shown: 4, World.match: 2}
BASE: Mixture = {**SEEING, World.point: 3, World.question: 2}
LISTENER: Mixture = {**SEEING, World.hear_pair: 4, World.hear_answer: 2}
RATE = 2e-3


def corpus() -> Iterator[str]:
    """What the tokenizer should know as whole words: every task's prompts and targets, and the skills'.

    No tag stands before a word, or `>red` would become a token and an answer's options with it.
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
    """How a listener does on unseen scenes: its accuracy and calibration after right reasonings, wrong ones, and both."""
    vlm, world = load_vlm(folder, dtype="float32"), World("heldout", 56)
    figures: dict[str, Any] = {}
    for said in (World.heard_pair, World.heard_answer):
        for kind, wrong in (("right", 0.0), ("wrong", 1.0), ("mixed", WRONG)):
            rng = random.Random(f"heard/{said.__name__}/{kind}")
            samples, texts = zip(*(said(world, rng, wrong) for _ in range(n)), strict=True)
            listener = TransformersListener(vlm, load_template(samples[0].task, "brief"))
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


def pretrain(name: str, out: Path, steps: tuple[int, int, int]) -> None:
    """Make one of the models and write it with its log."""
    role = ROLES[name]
    torch.manual_seed(role.seed)
    size = role.size
    tokenizer = train_tokenizer(corpus())
    vlm = wrap(build(size, tokenizer, role.seed), build_processor(size, tokenizer), FAMILIES[size.family], name)
    thousand = vlm.family.box_space == "thousand"
    world, unseen = (World(split, size.image_side, thousand) for split in (role.split, "heldout"))
    everything = LISTENER if name == "listener" else BASE
    phases = (
        Phase("words", WORDS, steps[1], 96, RATE),
        Phase("everything", everything, steps[2], 64, RATE, vision=0.2),
    )
    record = {"role": name, "seed": role.seed, "split": role.split, "rate": RATE}
    seen = train_vision(vlm, world.picture, unseen.picture, world.side, role.seed, steps=steps[0], rate=RATE)
    log = train(vlm, phases, world, unseen, role.seed, keep=lambda log: save(vlm, out, record | {"log": seen + log}))
    if name == "listener":
        save(vlm, out, record | {"heard": heard(out), "log": seen + log})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("role", choices=ROLES)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--steps", type=int, nargs=3, default=(1200, 250, 1500), help="of the three phases")
    args = parser.parse_args()
    torch.set_num_threads(1)
    pretrain(args.role, args.out or ASSETS / f"pocket-{args.role}", tuple(args.steps))
