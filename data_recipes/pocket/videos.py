"""Which of two videos shows the motion that a caption tells."""

from __future__ import annotations

import random

from data_recipes.pocket.claims import noun
from data_recipes.pocket.corruptions import TRIES, recast
from data_recipes.pocket.drafts import Ballot, Draft, Setting
from data_recipes.pocket.drawing import Picture
from data_recipes.pocket.scenes import LEVELS, Level, Scene, compose, split_of

SLIPS = ("direction", "object", "attribute", "still")
"""What may be wrong with a video."""
FRAMES = 4
"""How many frames a video has."""
WAYS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}
OPPOSITE = {"left": "right", "right": "left", "up": "down", "down": "up"}
MOTIONS = ("{} moves {}", "a video in which {} moves {}")
OOD_MOTIONS = ("you can watch {} go {}",)


def motions(rng: random.Random, setting: Setting) -> Draft:
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
