"""Boxes of things: all things of some categories, or the one thing that an expression refers to."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from data_recipes.pocket.claims import Noun, listed, noun, related
from data_recipes.pocket.drafts import Draft, Setting, target_text
from data_recipes.pocket.drawing import Picture
from data_recipes.pocket.questions import RELATIONS, counted, place
from data_recipes.pocket.scenes import LEVELS, SHAPES, Scene, Thing, compose


def detection(rng: random.Random, setting: Setting) -> Draft:
    """One or two categories, and a box for every thing in them."""
    level = rng.choice(setting.levels)
    low, high = LEVELS[level].things
    scene = compose(rng, setting.split, level, things=(low, high), identical=rng.choice((1, 1, 2)) if high > 2 else 1)
    shapes = list(dict.fromkeys(t.shape for t in scene.things))
    named = rng.sample(shapes, min(len(shapes), rng.randint(1, 2)))
    if level == 3 and rng.random() < 0.25:  # an absent category has no boxes
        named = [named[0], rng.choice([s for s in SHAPES if s not in shapes])]
    picture = Picture(scene, setting.look(rng, level))
    boxes = [
        {"bbox_2d": picture.box(i, setting.side), "label": shape}
        for shape in named
        for i in reading(scene, [i for i, t in enumerate(scene.things) if t.shape == shape])
    ]
    seen = listed([counted(sum(t.shape == shape for t in scene.things), shape) for shape in named])
    return Draft(
        prompt=" and ".join(named) if setting.ood else ", ".join(named),
        root=scene,
        target=target_text(f"The image shows {seen}.", _json(boxes)),
        gold={"boxes": boxes},
        level=level,
        pictures=(picture,),
    )


def grounding(rng: random.Random, setting: Setting) -> Draft:
    """An expression that refers to exactly one thing, by its looks or its position, and the thing's box."""
    level = rng.choice(setting.levels)
    while True:
        scene = compose(rng, setting.split, level, things=(2, LEVELS[level].things[1]))
        index = rng.randrange(len(scene.things))
        if expression := _expression(rng, scene, scene.things[index]):
            break
    thing = scene.things[index]
    picture = Picture(scene, setting.look(rng, level))
    boxes = [{"bbox_2d": picture.box(index, setting.side), "label": expression}]
    seen = f"{noun(thing, LEVELS[level].sized)} at the {place(thing, scene.grid)}"
    return Draft(
        prompt=f"find {expression}" if setting.ood else expression,
        root=scene,
        target=target_text(f"It is the {seen}.", _json(boxes)),
        gold={"boxes": boxes},
        level=level,
        pictures=(picture,),
    )


def _expression(rng: random.Random, scene: Scene, thing: Thing) -> str | None:
    """An expression for this thing alone; None if the randomly chosen form is ambiguous."""
    anchor = rng.choice([t for t in scene.things if t is not thing])
    word = rng.choice(RELATIONS)
    match rng.choice(("shape", "colour", "both", "relation")):
        case "shape":
            text, meant = f"the {thing.shape}", [t for t in scene.things if t.shape == thing.shape]
        case "colour":
            text, meant = f"the {thing.colour} shape", [t for t in scene.things if t.colour == thing.colour]
        case "both":
            it = Noun(thing.colour, thing.shape)
            text, meant = f"the {it}", [t for t in scene.things if it.fits(t)]
        case _:
            kin = [t for t in scene.things if t.shape == thing.shape and t is not anchor]
            text = f"the {thing.shape} {word} the {noun(anchor, False)}"
            meant = [t for t in kin if related(t, word, anchor)]
    if meant != [thing]:
        return None
    return text


def reading(scene: Scene, indices: Iterable[int]) -> list[int]:
    """In reading order: row by row, from the left."""
    return sorted(indices, key=lambda i: (scene.things[i].row, scene.things[i].column))


def _json(boxes: Sequence[Mapping[str, Any]]) -> str:
    return json.dumps(boxes, separators=(",", ":"))
