"""What the shapes' models are taught: each skill makes a question and its reply from a scene.

The base describes, points, answers simple questions and compares one image with a caption; the listener hears a
reasoning, right or wrong, and gives the verdict.
"""

from __future__ import annotations

import json
import random
import re
from dataclasses import dataclass
from typing import Any

from pretraining import Mixture, Row, ask

from data_recipes.pocket import claims, questions
from data_recipes.pocket.claims import NUMBERS, noun
from data_recipes.pocket.corruptions import CORRUPTIONS, contrast, other
from data_recipes.pocket.drafts import Setting
from data_recipes.pocket.drawing import Picture
from data_recipes.pocket.places import reading
from data_recipes.pocket.questions import place
from data_recipes.pocket.scenes import COLOURS, LEVELS, SHAPES, SIZES, Level, Scene, Split, compose
from reasoner_rm.schema import Sample
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


WORDS: Mixture = {World.match: 1}
SEEING: Mixture = {World.describe: 4, World.shown: 4, World.match: 2}
BASE: Mixture = {**SEEING, World.point: 3, World.question: 2}
LISTENER: Mixture = {**SEEING, World.hear_pair: 4, World.hear_answer: 2}
