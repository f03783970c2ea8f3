"""A paragraph about an image with one injected error, its type, and its position."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Literal

from data_recipes.pocket.claims import NUMBERS, Noun, against, article, noun, plural
from data_recipes.pocket.claims import relation as relate
from data_recipes.pocket.corruptions import Corruption, other
from data_recipes.pocket.drafts import Draft, Setting
from data_recipes.pocket.drawing import Picture
from data_recipes.pocket.questions import PLACES, place
from data_recipes.pocket.scenes import COLOURS, HELD_BACK, LEVELS, SHAPES, SIZES, Difficulty, Level, Scene, compose

OPPOSITE = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}
GROUP_SIZES = ("two", "three")
OPENINGS = ("The picture shows", "On the paper you see")
OOD_OPENINGS = ("Here one can find",)


@dataclass(frozen=True, slots=True)
class Phrase:
    """A part of a paragraph that may be wrong."""

    text: str
    about: Literal["thing", "relation", "place", "count"]


def paragraphs(rng: random.Random, setting: Setting) -> Draft:
    """Three phrases or more, of which one is wrong, each with the same probability.

    Every thing is named once, and no error can be found from the text alone: a wrong phrase would be right of another
    scene.
    """
    level = rng.choice(setting.levels)
    scene, phrases = _truth(rng, setting, level)
    spot = rng.randrange(len(phrases))
    kind, changed = _wrong(rng, setting, scene, phrases[spot], LEVELS[level])
    written = [Phrase(changed, p.about) if i == spot else p for i, p in enumerate(phrases)]
    text, span = _write(written, rng.choice(OOD_OPENINGS if setting.ood else OPENINGS), spot)
    checks = " ".join(
        f"Says {said.text}, shows {against(true.text, said.text)}: {'yes' if said == true else 'no'}."
        for said, true in zip(written, phrases, strict=True)
    )
    return Draft(
        prompt=text,
        root=scene,
        target=f"<think>{checks}</think>\n\\boxed{{{changed}}}",
        gold={"original": phrases[spot].text, "changed": changed, "type": kind},
        level=level,
        pictures=(Picture(scene, setting.look(rng, level)),),
        meta={"span": span, "corruption": kind},
    )


def _truth(rng: random.Random, setting: Setting, level: Level) -> tuple[Scene, list[Phrase]]:
    """A scene and true phrases: two things with their relation, or a count with a position; then the others."""
    sized, most = LEVELS[level].sized, LEVELS[level].things[1]
    if rng.random() < 0.6:
        identical = NUMBERS.index(rng.choice(GROUP_SIZES))
        scene = compose(
            rng, setting.split, level, things=(identical + 1, max(most, identical + 1)), identical=identical
        )
        group = Noun(scene.things[0].colour, scene.things[0].shape)
        rest = [Phrase(str(noun(t, sized)), "thing") for t in scene.things[identical:]]
        position = Phrase(place(scene.things[identical], scene.grid), "place")
        return scene, [Phrase(f"{NUMBERS[identical]} {plural(str(group), 2)}", "count"), rest[0], position, *rest[1:]]
    scene = compose(rng, setting.split, level, things=(2, most))
    one, two = scene.things[:2]
    axis = rng.choice([a for a in (0, 1) if (one.column, one.row)[a] != (two.column, two.row)[a]])
    first, *rest = [Phrase(str(noun(t, sized)), "thing") for t in scene.things]
    return scene, [first, Phrase(relate(scene, (0, 1), axis, sized).word, "relation"), *rest]


def _wrong(
    rng: random.Random, setting: Setting, scene: Scene, phrase: Phrase, rule: Difficulty
) -> tuple[Corruption, str]:
    """The phrase with an error in it, and the error's kind."""
    words = phrase.text.split()
    match phrase.about:
        case "relation":
            return "relation", OPPOSITE[phrase.text]
        case "place":
            rows, columns = PLACES[scene.grid]
            return "relation", other(rng, tuple(f"{r} {c}" for r in rows for c in columns), phrase.text)
        case "count":
            return "count", " ".join((other(rng, GROUP_SIZES, words[0]), *words[1:]))
    kind: Corruption = rng.choice(("attribute", "object"))
    if kind == "attribute" and rule.sized and rng.random() < 0.4:
        return kind, " ".join((other(rng, SIZES, words[0]), *words[1:]))
    colour, shape = words[-2:]

    def false(look: tuple[str, str]) -> bool:
        named = any((t.colour, t.shape) == look for t in scene.things)  # then the phrase would be true of another thing
        return not named and (setting.ood or look not in HELD_BACK)

    if kind == "object" and not any(false((colour, s)) for s in SHAPES if s != shape):
        kind = "attribute"
    elif kind == "attribute" and not any(false((c, shape)) for c in COLOURS if c != colour):
        kind = "object"
    while True:
        look = (colour, other(rng, SHAPES, shape)) if kind == "object" else (other(rng, COLOURS, colour), shape)
        if false(look):
            return kind, " ".join((*words[:-2], *look))


def _write(phrases: list[Phrase], opening: str, spot: int) -> tuple[str, list[int]]:
    """The paragraph, and the character range of the phrase at ``spot`` in it."""
    text, span = opening, [0, 0]
    for i, phrase in enumerate(phrases):
        match phrase.about:
            case "thing":
                after_relation = i > 0 and phrases[i - 1].about == "relation"
                also = ". There is also" if i and not after_relation else ""
                text += f"{also} {article(phrase.text)} "
            case "place":
                text += " at the "
            case _:
                text += " "
        if i == spot:
            span = [len(text), len(text) + len(phrase.text)]
        text += phrase.text
    return text + ".", span
