"""The pre-training skills of the shapes' models: each skill generates a question and its reply from a scene.

The base model learns to describe, to point, to answer simple questions, and to state which parts of a caption one or
two images show. The listener learns to give the verdict after a correct or a wrong reasoning.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from pretraining import Mixture, Row, ask

from data_recipes.pocket import claims, questions
from data_recipes.pocket.claims import NUMBERS, Claim, noun
from data_recipes.pocket.corruptions import CORRUPTIONS, TRIES, Corruption, contrast, exchanged, other, recast
from data_recipes.pocket.drafts import Setting
from data_recipes.pocket.drawing import Look, Picture
from data_recipes.pocket.localisation import reading
from data_recipes.pocket.questions import place
from data_recipes.pocket.scenes import COLOURS, LEVELS, SHAPES, SIZES, Level, Scene, Split, compose, placed, split_of
from reasoner_rm.schema import Sample
from reasoner_rm.tasks.render import load_template, render

T = TypeVar("T")
VOCABULARIES = (COLOURS, SHAPES, SIZES, *claims.RELATIONS, NUMBERS[1:])
"""Words that can replace each other in a wrong reasoning, one list per kind."""
STYLES = {(False, False): 3, (True, False): 1, (False, True): 1}
"""Weights of (dark paper, outlined shapes). Both at once is the style of `ood`."""
COUNTED, RELATED, CHANGED = 0.15, 0.6, 0.75
"""Probability that a caption has a count; that one of two objects has their relation; that an image is changed."""
DEPTHS: dict[Level, int] = {1: 2, 2: 2, 3: 1}
"""Weights of the levels."""
REWORDED = 0.15
"""Probability of the wording of a relation in `ood`, so that its words occur in training."""
ANYWHERE = 0.7
"""Share of the vision tower's images whose objects stand anywhere."""
WRONG = 0.35
"""Probability that a reasoning for the listener has a false statement; its verdict may still be correct."""


@dataclass(frozen=True)
class World:
    """Rows of every skill, from one split of the pocket world. ``thousand``: boxes from 0 to 1000, as in Qwen3-VL."""

    split: Split
    side: int
    thousand: bool = False

    # --- seeing -------------------------------------------------------------------------------------------------

    def describe(self, rng: random.Random) -> Row:
        """The objects of one or two images with their positions, in reading order."""
        said, images = [], []
        for k in range(1, rng.choice((1, 1, 2)) + 1):
            level, scene = self.scene(rng)
            seen = (scene.things[i] for i in reading(scene, range(len(scene.things))))
            things = [f"{noun(t, LEVELS[level].sized).a} at the {place(t, scene.grid)}" for t in seen]
            said.append(f"Image {k} shows {', '.join(things)}.")
            images.append(self.drawn(rng, scene, level).image(self.side))
        return Row(ask(rng.choice(("Describe each image.", "What does each image show?")), images), " ".join(said))

    def where(self, rng: random.Random) -> Row:
        """The positions of one or two objects, in one image or in two with the same objects at other positions."""
        level, scene = self.scene(rng, 2)
        scenes = [scene, placed(rng, scene, self.split)][: rng.choice((1, 2, 2))]
        asked = rng.sample(range(len(scene.things)), rng.choice((1, 2, 2)))
        said = []
        for k, shown in enumerate(scenes, start=1):
            spots = (f"{noun(shown.things[i], False)} at the {place(shown.things[i], shown.grid)}" for i in asked)
            said.append(f"Image {k} shows the {', the '.join(spots)}.")
        text = f"Which place has the {' and the '.join(str(noun(scene.things[i], False)) for i in asked)}?"
        return Row(ask(text, [self.drawn(rng, s, level).image(self.side) for s in scenes]), " ".join(said))

    def point(self, rng: random.Random) -> Row:
        """The boxes of all objects, or of a named one."""
        level, scene = self.scene(rng)
        picture, order = self.drawn(rng, scene, level), reading(scene, range(len(scene.things)))
        text = "List all things."
        if rng.random() < 0.5:
            order = [rng.choice(order)]
            text = f"Where is the {noun(scene.things[order[0]], sized=False)}?"
        boxes = [{"bbox_2d": self.box(picture, i), "label": str(noun(scene.things[i], sized=False))} for i in order]
        return Row(ask(text, [picture.image(self.side)]), json.dumps(boxes, separators=(",", ":")))

    def question(self, rng: random.Random) -> Row:
        """A simple question with an answer of one word."""
        asker = rng.choice(list(questions.SIMPLE.values()))
        yes = rng.random() < 0.5
        while True:
            level, scene = self.scene(rng)
            if asked := asker(rng, scene, False, yes):
                return Row(ask(asked.text, [self.drawn(rng, scene, level).image(self.side)]), asked.answer)

    def shown(self, rng: random.Random) -> Row:
        """What one image shows of a caption, in the caption's words, and whether it matches."""
        level, claim, [(scene, found)] = self.variants(rng, 1)
        text = f"Caption: {captioned(claim, rng)}\nDoes the image fit?"
        image = self.drawn(rng, scene, level, anywhere=True).image(self.side)
        return Row(ask(text, [image]), compared(str(claim), [str(found)]))

    def each(self, rng: random.Random) -> Row:
        """What each of two images shows of a caption, without a verdict. Both, one or none may match."""
        level, claim, seen = self.variants(rng, 2)
        images = [self.drawn(rng, scene, level, anywhere=True).image(self.side) for scene, _ in seen]
        text = f"Caption: {captioned(claim, rng)}\nWhat does each image show of it?"
        return Row(ask(text, images), compared(str(claim), [str(found) for _, found in seen], fits=False))

    # --- words alone --------------------------------------------------------------------------------------------

    def match(self, rng: random.Random) -> Row:
        """Whether the described images match a caption, from text only."""
        claim = self.contrast(rng)[2]
        asked = str(claim)
        seen = [asked if rng.random() < 0.45 else misread(asked, rng) for _ in range(rng.choice((1, 2)))]
        told = " ".join(f"Image {k} shows {text}." for k, text in enumerate(seen, start=1))
        return Row(ask(f"{told}\nCaption: {captioned(claim, rng)}\nWhich image fits?"), compared(asked, seen))

    # --- the listener's own: a verdict after a reasoning ----------------------------------------------------------

    def hear_pair(self, rng: random.Random) -> Row:
        """The better image, after a reasoning that is wrong with probability `WRONG`."""
        sample, said = self.heard_pair(rng, WRONG)
        return _verdict(sample, f"{said}\n<answer>Image ", f"{sample.meta['truth']} is better</answer>")

    def hear_answer(self, rng: random.Random) -> Row:
        """The answer to a question, after a reasoning that is wrong with probability `WRONG`."""
        sample, said = self.heard_answer(rng, WRONG)
        return _verdict(sample, f"{said}\n<answer>", f"{sample.gold['answer']}</answer>")

    def heard_pair(self, rng: random.Random, wrong: float) -> tuple[Sample, str]:
        """A pair and a reasoning about it that has a false statement with probability ``wrong``."""
        level, right, claim, other_scene, found = self.contrast(rng)
        seen = [(right, str(claim)), (other_scene, str(found))]
        rng.shuffle(seen)
        said = [text for _, text in seen]
        if rng.random() < wrong:
            k = rng.randrange(2)
            said[k] = rng.choice((str(claim), str(found), misread(said[k], rng)))
        images = tuple(self.drawn(rng, scene, level, anywhere=True).image(self.side) for scene, _ in seen)
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
        """A question and a reasoning about it that has a false statement with probability ``wrong``."""
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

    def scene(self, rng: random.Random, least: int = 1) -> tuple[Level, Scene]:
        """A scene of at least ``n`` objects, and its level."""
        level = drawn(rng, DEPTHS)
        low, high = LEVELS[level].things
        return level, compose(rng, self.split, level, things=(max(low, least), high))

    def picture(self, rng: random.Random) -> Picture:
        """An image for the vision tower alone."""
        level, scene = self.scene(rng)
        return self.drawn(rng, scene, level, anywhere=rng.random() < ANYWHERE)

    def contrast(self, rng: random.Random, kind: Corruption | None = None) -> tuple[Level, Scene, Claim, Scene, Claim]:
        level = drawn(rng, DEPTHS)
        return level, *contrast(rng, self.split, level, kind or rng.choice(CORRUPTIONS))

    def variants(self, rng: random.Random, n: int) -> tuple[Level, Claim, list[tuple[Scene, Claim]]]:
        """A claim and ``n`` scenes, each with what it shows of the claim: the claim's words cannot just be copied.

        A claim is about one object where the scene has no more, else about two. One or both may be changed, or the
        positions of the two may be swapped.
        """
        if rng.random() < COUNTED:
            level, right, claim, wrong, found = self.contrast(rng, "count")
            return level, claim, [rng.choice(((right, claim), (wrong, found))) for _ in range(n)]
        level, scene = self.scene(rng)
        sized = LEVELS[level].sized
        about = scene.things[:2]
        axes = [a for a in (0, 1) if len({(thing.column, thing.row)[a] for thing in about}) == 2]
        axis = rng.choice(axes) if axes and rng.random() < RELATED else None

        def claim_of(scene: Scene) -> Claim:
            if axis is None:
                return claims.presence(scene, tuple(range(len(about))), sized)
            return claims.relation(scene, (0, 1), axis, sized)

        found: list[tuple[Scene, Claim]] = []
        for _ in range(n):
            seen = self.changed(rng, scene, sized) if rng.random() < CHANGED else scene
            found.append((seen, claim_of(seen)))
        return level, claim_of(scene), found

    def changed(self, rng: random.Random, scene: Scene, sized: bool) -> Scene:
        """The scene with one or both of its first two objects changed, or with their positions swapped."""
        about = range(len(scene.things[:2]))
        for _ in range(8 * TRIES):
            made = exchanged(scene, 0, 1) if len(about) == 2 and rng.random() < 0.5 else scene
            for i in about:
                if rng.random() < 0.4:
                    made = recast(made, i, rng.choice(("attribute", "object")), rng, sized=sized)
            if made != scene and made.tells_apart and split_of(made) == self.split:
                return made
        return scene

    def drawn(self, rng: random.Random, scene: Scene, level: Level, *, anywhere: bool = False) -> Picture:
        (dark, hollow), rule = drawn(rng, STYLES), LEVELS[level]
        look = Look.draw(rng, dark=dark, hollow=hollow, clutter=rule.clutter, anywhere=anywhere, sized=rule.sized)
        return Picture(scene, look)

    def box(self, picture: Picture, index: int) -> list[int]:
        """An object's box in the family's coordinates."""
        x = picture.box(index, self.side)
        return [round(v * 1000 / self.side) for v in x] if self.thousand else x


def _verdict(sample: Sample, given: str, reply: str) -> Row:
    return Row(render(sample, load_template(sample.task, "brief")), reply, given)


def drawn(rng: random.Random, shares: Mapping[T, int]) -> T:
    """A key, sampled by weight."""
    return rng.choices(list(shares), list(shares.values()))[0]


def captioned(claim: Claim, rng: random.Random) -> str:
    """A caption, sometimes with the wording of a relation in `ood`."""
    text = claims.reworded(claim) if rng.random() < REWORDED else str(claim)
    return rng.choice(claims.FRAMES).format(text)


def compared(asked: str, seen: Sequence[str], *, fits: bool = True) -> str:
    """The caption, what each image shows of it, and whether it matches: the form of a judge's reasoning."""
    said = []
    for k, text in enumerate(seen, start=1):
        fit = f": {'yes' if text == asked else 'no'}" if fits else ""
        said.append(f"Image {k} shows {claims.against(text, asked)}{fit}.")
    return f"The caption asks for {asked}. {' '.join(said)}"


def misread(text: str, rng: random.Random) -> str:
    """The text with one word replaced by another of its kind.

    >>> misread("two red crosses", random.Random(4))
    'two green crosses'
    """
    found = [(m, row) for row in VOCABULARIES for word in row for m in re.finditer(rf"\b({word})(s|es)?\b", text)]
    match, row = rng.choice(found)
    read = claims.plural(other(rng, row, match[1]), 2 if match[2] else 1)
    text = text[: match.start()] + read + text[match.end() :]
    return re.sub(r"\ban? (?=\w)", lambda m: f"{claims.article(text[m.end() :])} ", text)


WORDS: Mixture = {World.match: 1}
SEEING: Mixture = {World.describe: 3, World.where: 3, World.question: 2, World.point: 1}
BASE: Mixture = {
    World.describe: 2,
    World.where: 3,
    World.shown: 3,
    World.each: 5,
    World.match: 2,
    World.point: 3,
    World.question: 3,
}
PAIRS: Mixture = BASE | {World.each: 12}
LISTENER: Mixture = {World.describe: 4, World.shown: 4, World.match: 2, World.hear_pair: 4, World.hear_answer: 2}
