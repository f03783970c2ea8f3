"""A paragraph about an image with one injected error, by type, and where it stands."""

from __future__ import annotations

import random

from data_recipes.pocket.claims import NUMBERS, Noun, against, article, noun, plural
from data_recipes.pocket.claims import relation as relate
from data_recipes.pocket.corruptions import CORRUPTIONS, other
from data_recipes.pocket.drafts import Draft, Setting
from data_recipes.pocket.drawing import Picture
from data_recipes.pocket.scenes import COLOURS, LEVELS, SHAPES, SIZES, Level, Scene, compose

OPPOSITE = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}
OPENINGS = ("The picture shows", "On the paper you see")
OOD_OPENINGS = ("Here one can find",)


def paragraphs(rng: random.Random, setting: Setting) -> Draft:
    """Two things and how they stand, then the others; every thing is named once, so the text cannot betray itself."""
    level = rng.choice(setting.levels)
    sized = LEVELS[level].sized
    kind = rng.choice(CORRUPTIONS)
    phrases, scene, types = _truth(rng, setting, level, kind)
    spot = rng.choice(
        [i for i, t in enumerate(types) if t == kind or (t == "thing" and kind in ("attribute", "object"))]
    )
    original = phrases[spot]
    others = [f"{t.colour} {t.shape}" for t in scene.things if not original.endswith(f"{t.colour} {t.shape}")]
    while True:
        changed = _wrong(rng, scene, spot, original, kind, sized)
        if not changed.endswith(tuple(others)):  # it would be true of another thing
            break
    written = [changed if i == spot else phrase for i, phrase in enumerate(phrases)]
    text, span = _write(written, types, rng.choice(OOD_OPENINGS if setting.ood else OPENINGS), spot)
    checks = " ".join(
        f"Says {said}, shows {against(true, said)}: {'yes' if said == true else 'no'}."
        for said, true in zip(written, phrases, strict=True)
    )
    return Draft(
        prompt=text,
        root=scene,
        target=f"<think>{checks}</think>\n\\boxed{{{changed}}}",
        gold={"original": original, "changed": changed, "type": kind},
        level=level,
        pictures=(Picture(scene, setting.look(rng, level)),),
        meta={"span": span, "corruption": kind},
    )


def _truth(rng: random.Random, setting: Setting, level: Level, kind: str) -> tuple[list[str], Scene, list[str]]:
    """What is true of a scene, phrase by phrase, with the type of each: thing, relation or count."""
    sized = LEVELS[level].sized
    most = LEVELS[level].things[1]
    grouped = kind in ("attribute", "object") and rng.random() < 0.4  # else a count would always be the error
    if kind == "count" or grouped:
        flock = rng.choice((2, 3))
        scene = compose(rng, setting.split, level, things=(flock + grouped, max(most, flock + grouped)), flock=flock)
        rest = [str(noun(t, sized)) for t in scene.things[flock:]]
        group = Noun(scene.things[0].colour, scene.things[0].shape)
        return [f"{NUMBERS[flock]} {plural(str(group), 2)}", *rest], scene, ["count", *["thing"] * len(rest)]
    scene = compose(rng, setting.split, level, things=(2, most))
    one, two = scene.things[:2]
    axis = rng.choice([a for a in (0, 1) if (one.column, one.row)[a] != (two.column, two.row)[a]])
    words = [str(noun(t, sized)) for t in scene.things]
    stands = relate(scene, (0, 1), axis, sized).word
    return [words[0], stands, *words[1:]], scene, ["thing", "relation", *["thing"] * (len(words) - 1)]


def _wrong(rng: random.Random, scene: Scene, spot: int, original: str, kind: str, sized: bool) -> str:
    """The phrase with the error in it."""
    words = original.split()
    match kind:
        case "relation":
            return OPPOSITE[original]
        case "count":
            number = NUMBERS.index(words[0])
            off = rng.choice([n for n in (number - 1, number + 1) if n > 1])
            return " ".join((NUMBERS[off], *words[1:]))
        case "object":
            return " ".join((*words[:-1], other(rng, SHAPES, words[-1])))
        case _:
            if sized and rng.random() < 0.4:
                return " ".join((other(rng, SIZES, words[0]), *words[1:]))
            return " ".join((*words[:-2], other(rng, COLOURS, words[-2]), words[-1]))


def _write(phrases: list[str], types: list[str], opening: str, spot: int) -> tuple[str, list[int]]:
    """The paragraph, and where the phrase at ``spot`` begins and ends in it, in characters."""
    text, span = opening, [0, 0]
    for i, (phrase, kind) in enumerate(zip(phrases, types, strict=True)):
        if kind == "thing" and i and types[i - 1] != "relation":
            text += ". There is also"
        if kind == "thing":
            text += f" {article(phrase)}"
        text += " "
        if i == spot:
            span = [len(text), len(text) + len(phrase)]
        text += phrase
    return text + ".", span
