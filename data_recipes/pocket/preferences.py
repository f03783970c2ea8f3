"""Pairs: which image serves a caption, which result serves an edit, which video moves as told; and scores."""

from __future__ import annotations

import random
from dataclasses import replace

from data_recipes.pocket.claims import NUMBERS, Noun, Presence, caption, noun
from data_recipes.pocket.corruptions import TRIES, contrast, other, recast
from data_recipes.pocket.drafts import Ballot, Draft, Setting, answered
from data_recipes.pocket.drawing import Look, Picture
from data_recipes.pocket.scenes import COLOURS, LEVELS, SHAPES, SIZES, Level, Scene, Thing, compose, split_of

EDITS = ("recolour", "reshape", "remove", "add")
SLIPS = ("direction", "object", "attribute", "still")
"""What may be wrong with a video."""
FRAMES = 4
"""How many frames a video has."""
WAYS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}
OPPOSITE = {"left": "right", "right": "left", "up": "down", "down": "up"}
MOTIONS = ("{} moves {}", "a video in which {} moves {}")
OOD_MOTIONS = ("you can watch {} go {}",)


def images(rng: random.Random, setting: Setting) -> Draft:
    """A caption with an image that fits and one with a named corruption."""
    level, kind = rng.choice(setting.levels), rng.choice(setting.corruptions)
    right, claim, wrong, shown = contrast(rng, setting.split, level, kind)
    ballot = Ballot.draw(rng, setting, level, "Image")
    pictures = (Picture(right, setting.look(rng, level)), Picture(wrong, setting.look(rng, level)))
    return Draft(
        prompt=caption(claim, rng, ood=setting.ood),
        root=right,
        target=ballot.target(f"The caption asks for {claim}.", str(claim), str(shown)),
        gold=ballot.gold,
        level=level,
        pictures=ballot.shown(*pictures),
        meta=ballot.meta | {"corruption": kind, "asked": str(claim)},
    )


def scores(rng: random.Random, setting: Setting) -> Draft:
    """A caption that names two to four things, and an image that shows some of them: 1 for none to 5 for all."""
    level = rng.choice(setting.levels)
    sized, n = LEVELS[level].sized, level + 1
    wrong = set(rng.sample(range(n), rng.randint(0, n)))
    while True:
        asked = shown = compose(rng, setting.split, level, things=(n, n))
        for index in wrong:
            shown = recast(shown, index, rng.choice(("attribute", "object")), rng, sized=sized)
        facts = [noun(t, sized) for t in asked.things]
        fits = [Presence((fact,)).holds(shown) for fact in facts]
        if shown.tells_apart and split_of(shown) == setting.split and fits == [i not in wrong for i in range(n)]:
            break
    score = 1 + round(4 * sum(fits) / n)
    seen = [noun(t, sized) for t in shown.things]
    said = " ".join(
        f"{fact.a.capitalize()}: shows {s.a}, {'yes' if fit else 'no'}."
        for fact, s, fit in zip(facts, seen, fits, strict=True)
    )
    return Draft(
        prompt=caption(Presence(tuple(facts)), rng, ood=setting.ood),
        root=asked,
        target=answered(f"{said} {NUMBERS[sum(fits)].capitalize()} of {NUMBERS[n]} fit.", str(score)),
        gold={"score": score},
        level=level,
        pictures=(Picture(shown, setting.look(rng, level)),),
        meta={"scale": [1, 5], "facts": [str(f) for f in facts], "fits": fits},
    )


def edits(rng: random.Random, setting: Setting) -> Draft:
    """An instruction, the source image, and two results: one does what it says, one is wrong by name."""
    level, edit = rng.choice(setting.levels), rng.choice(EDITS)
    kind = rng.choice(("unchanged", "object") if edit == "remove" else ("unchanged", "object", "attribute"))
    while True:
        source = compose(rng, setting.split, level, things=(2, 3))
        if found := _edit(rng, setting, level, source, edit, kind):
            break
    instruction, asked, right, wrong, seen = found
    ballot, look = Ballot.draw(rng, setting, level, "Image"), setting.look(rng, level)
    results = ballot.shown(*(Picture(result, _kept(look, source, result)) for result in (right, wrong)))
    return Draft(
        prompt=f"Please {instruction}." if setting.ood else instruction,
        root=source,
        target=ballot.target(f"The edit asks for {asked}.", asked, seen),
        gold=ballot.gold,
        level=level,
        pictures=(Picture(source, look), *results),  # one look: what an edit leaves alone stays as it was
        meta=ballot.meta | {"corruption": kind, "asked": asked},
    )


def _kept(look: Look, source: Scene, result: Scene) -> Look:
    """The look in which a result leaves alone what the edit does not touch."""
    if len(result.things) >= len(source.things):
        return look
    return look.without(next(i for i, t in enumerate(source.things) if t not in result.things))


def _edit(
    rng: random.Random, setting: Setting, level: Level, source: Scene, edit: str, kind: str
) -> tuple[str, str, Scene, Scene, str] | None:
    """Instruction, what it asks for, the right and the wrong result, and what the wrong one shows instead."""
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
                instruction, right = f"add {noun(new, sized).a}", replace(source, things=(*source.things, new))
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
    """What the right result shows, and what the wrong one shows instead."""
    match edit:
        case "remove":
            return f"no {wanted}", wanted.a
        case "add":
            return wanted.a, noun(wrong.things[index], sized).a if index < len(wrong.things) else f"no {wanted}"
        case _:
            return wanted.a, noun(wrong.things[index], sized).a


def videos(rng: random.Random, setting: Setting) -> Draft:
    """A motion in words; in one video it happens, in the other something else moves, or elsewhere, or nothing."""
    level, kind = rng.choice(setting.levels), rng.choice(SLIPS)
    while True:
        start = compose(rng, setting.split, level, things=(2, 3))
        if found := _motion(rng, setting, level, start, kind):
            break
    way, mover, clips, seen = found
    sized = LEVELS[level].sized
    asked = f"{noun(start.things[mover], sized).a} moving {way}"
    ballot = Ballot.draw(rng, setting, level, "Video")
    looks = setting.look(rng, level), setting.look(rng, level)
    frames = [
        tuple(Picture(scene, look, ((i, (dx * t / (FRAMES - 1), dy * t / (FRAMES - 1))),)) for t in range(FRAMES))
        for look, (scene, i, (dx, dy)) in zip(looks, clips, strict=True)
    ]
    words = rng.choice(OOD_MOTIONS if setting.ood else MOTIONS)
    return Draft(
        prompt=words.format(noun(start.things[mover], sized).a, way),
        root=start,
        target=ballot.target(f"The caption asks for {asked}.", asked, seen),
        gold=ballot.gold,
        level=level,
        clips=ballot.shown(*frames),
        meta=ballot.meta | {"corruption": kind, "asked": asked},
    )


Clip = tuple[Scene, int, tuple[int, int]]
"""A scene, and which of its things moves how far, in cells."""


def _motion(
    rng: random.Random, setting: Setting, level: Level, start: Scene, kind: str
) -> tuple[str, int, tuple[Clip, Clip], str] | None:
    """Direction, moving thing, the right and the wrong clip, and what the wrong one shows."""
    sized = LEVELS[level].sized
    for _ in range(TRIES):
        mover, bystander = rng.sample(range(len(start.things)), 2)
        way = rng.choice(list(WAYS))
        scene, actor, step = start, mover, WAYS[way]
        shown = f"moving {way}"
        match kind:
            case "direction":
                scene, step, shown = moved(start, mover, step), WAYS[OPPOSITE[way]], f"moving {OPPOSITE[way]}"
            case "object":
                actor = bystander
            case "attribute":
                scene = recast(start, mover, "attribute", rng, sized=sized)
            case _:
                step, shown = (0, 0), "standing still"
        clips: tuple[Clip, Clip] = (start, mover, WAYS[way]), (scene, actor, step)
        if all(_inside(clip, setting) for clip in clips):
            return way, mover, clips, f"{noun(scene.things[actor], sized).a} {shown}"
    return None


def moved(scene: Scene, index: int, step: tuple[int, int]) -> Scene:
    """The scene with one thing some cells on."""
    thing = scene.things[index]
    return scene.having(index, column=thing.column + step[0], row=thing.row + step[1])


def _inside(clip: Clip, setting: Setting) -> bool:
    """Whether a clip begins and ends in a scene of the split, and its way is free."""
    scene, index, step = clip
    if split_of(scene) != setting.split or not scene.tells_apart:
        return False
    end = moved(scene, index, step)
    place = (end.things[index].column, end.things[index].row)
    return step == (0, 0) or (place in scene.free() and split_of(end) == setting.split)
