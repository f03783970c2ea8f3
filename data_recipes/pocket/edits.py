"""Which of two edited images follows the instruction for a source image."""

from __future__ import annotations

import random

from data_recipes.pocket.claims import Noun, noun
from data_recipes.pocket.corruptions import TRIES, other, recast
from data_recipes.pocket.drafts import Draft, Setting, VotedPair
from data_recipes.pocket.drawing import Look, Picture
from data_recipes.pocket.scenes import COLOURS, LEVELS, SHAPES, SIZES, Level, Scene, Thing, compose, split_of

EDITS = ("recolour", "reshape", "remove", "add")


def results(rng: random.Random, setting: Setting) -> Draft:
    """An instruction, the source image, and two results: a correct one, and one with a named error."""
    level, edit = rng.choice(setting.levels), rng.choice(EDITS)
    kind = rng.choice(("unchanged", "object") if edit == "remove" else ("unchanged", "object", "attribute"))
    while True:
        source = compose(rng, setting.split, level, things=(2, 3))
        if found := _edit(rng, setting, level, source, edit, kind):
            break
    instruction, asked, right, wrong, seen = found
    pair, look = VotedPair.draw(rng, setting, level, "Image"), setting.look(rng, level)
    results = pair.shown(*(Picture(result, _kept(look, source, result)) for result in (right, wrong)))
    return Draft(
        prompt=f"Please {instruction}." if setting.ood else instruction,
        root=source,
        target=pair.target(f"The edit asks for {asked}.", asked, seen),
        gold=pair.gold,
        level=level,
        pictures=(Picture(source, look), *results),  # one look: what the edit does not change stays equal
        meta=pair.meta | {"corruption": kind, "asked": asked},
    )


def _kept(look: Look, source: Scene, result: Scene) -> Look:
    """The look of a result, equal to the source except for the edit."""
    if len(result.things) >= len(source.things):
        return look
    return look.without(next(i for i, t in enumerate(source.things) if t not in result.things))


def _edit(
    rng: random.Random, setting: Setting, level: Level, source: Scene, edit: str, kind: str
) -> tuple[str, str, Scene, Scene, str] | None:
    """The instruction, its claim, the right and the wrong result, and the claim that holds in the wrong one."""
    sized = LEVELS[level].sized
    index, bystander = rng.sample(range(len(source.things)), 2)
    thing = source.things[index]
    old = noun(thing, sized)
    for _ in range(TRIES):
        match edit:
            case "recolour":
                colour = other(rng, COLOURS, thing.colour)
                instruction, right = f"make the {old} {colour}", source.having(index, colour=colour)
                changed = {"attribute": source.having(index, colour=other(rng, COLOURS, colour)),
                           "object": source.having(bystander, colour=colour)}  # fmt: skip
            case "reshape":
                shape = other(rng, SHAPES, thing.shape)
                instruction, right = f"turn the {old} into a {shape}", source.having(index, shape=shape)
                changed = {"attribute": source.having(index, shape=other(rng, SHAPES, shape)),
                           "object": source.having(bystander, shape=shape)}  # fmt: skip
            case "remove":
                instruction, right = f"remove the {old}", source.without(index)
                changed = {"object": source.without(bystander)}
            case _:
                column, row = rng.choice(source.free())
                new = Thing(
                    rng.choice(SHAPES), rng.choice(COLOURS), rng.choice(SIZES) if sized else "large", column, row
                )
                instruction, right = f"add {noun(new, sized).a}", Scene((*source.things, new), source.grid)
                index = len(source.things)
                changed = {k: recast(right, index, k, rng, sized=sized) for k in ("attribute", "object")}
        wrong = changed.get(kind, source)
        wanted = old if edit == "remove" else noun(right.things[index], sized)
        asked, seen = _outcome(edit, index, wanted, wrong, sized)
        fails = any(map(wanted.fits, wrong.things)) == (edit == "remove")
        ours = all(s.tells_apart and split_of(s) == setting.split for s in (right, wrong))
        if fails and ours and (wrong == source) == (kind == "unchanged"):
            return instruction, asked, right, wrong, seen
    return None


def _outcome(edit: str, index: int, wanted: Noun, wrong: Scene, sized: bool) -> tuple[str, str]:
    """The claim of the right result, and the claim that holds in the wrong one."""
    match edit:
        case "remove":
            return f"no {wanted}", wanted.a
        case "add":
            return wanted.a, noun(wrong.things[index], sized).a if index < len(wrong.things) else f"no {wanted}"
        case _:
            return wanted.a, noun(wrong.things[index], sized).a
