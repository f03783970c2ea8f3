"""Which of two videos shows the motion that a caption describes."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from data_recipes.pocket.claims import noun
from data_recipes.pocket.corruptions import TRIES, recast
from data_recipes.pocket.drafts import Draft, Setting, VotedPair
from data_recipes.pocket.drawing import Look, Picture
from data_recipes.pocket.scenes import LEVELS, Scene, compose, held_back, split_of

SLIPS = ("direction", "object", "attribute", "still")
"""The kinds of error of a video."""
FRAMES = 4
"""The number of frames of a video."""
WAYS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}
OPPOSITE = {"left": "right", "right": "left", "up": "down", "down": "up"}
MOTIONS = ("{}", "a video in which {}")
OOD_MOTIONS = ("you can watch {}",)
VERBS = {"moving": "moves", "standing": "stands"}
OOD_VERBS = {"moving": "go", "standing": "stay"}


@dataclass(frozen=True, slots=True)
class Clip:
    """A scene in which one thing moves by so many cells (right, down), or is mentioned and does not move."""

    scene: Scene
    index: int
    step: tuple[int, int]
    motion: str

    def describe(self, sized: bool) -> str:
        """What it shows."""
        return f"{noun(self.scene.things[self.index], sized).a} {self.motion}"

    def frames(self, look: Look) -> tuple[Picture, ...]:
        (right, down), last = self.step, FRAMES - 1
        ways = (((self.index, (right * t / last, down * t / last)),) for t in range(FRAMES))
        return tuple(Picture(self.scene, look, way) for way in ways)


def motions(rng: random.Random, setting: Setting) -> Draft:
    """A thing's motion as text; one video shows it, the other has a named error."""
    level, kind = rng.choice(setting.levels), rng.choice(SLIPS)
    sized = LEVELS[level].sized
    while True:
        start = compose(rng, setting.split, level, things=(2, 3))
        if found := _slip(rng, setting, start, kind, sized):
            break
    right, wrong = found
    if rng.random() < 0.5 and (not setting.ood or held_back(wrong.scene)):  # else a still video would always be wrong
        right, wrong = wrong, right
    pair = VotedPair.draw(rng, setting, level, "Video")
    asked = right.describe(sized)
    it = noun(right.scene.things[right.index], sized).a
    frame, verbs = (rng.choice(OOD_MOTIONS), OOD_VERBS) if setting.ood else (rng.choice(MOTIONS), VERBS)
    verb, _, way = right.motion.partition(" ")
    return Draft(
        prompt=frame.format(f"{it} {verbs[verb]} {way}"),
        root=right.scene,
        target=pair.target(f"The caption asks for {asked}.", asked, wrong.describe(sized)),
        gold=pair.gold,
        level=level,
        clips=pair.shown(right.frames(setting.look(rng, level)), wrong.frames(setting.look(rng, level))),
        meta=pair.meta | {"corruption": kind, "asked": asked},
    )


def _slip(rng: random.Random, setting: Setting, start: Scene, kind: str, sized: bool) -> tuple[Clip, Clip] | None:
    """A clip, and one in which something else happens; None if the scene has no room for them."""
    for _ in range(TRIES):
        mover, bystander = rng.sample(range(len(start.things)), 2)
        way = rng.choice(list(WAYS))
        right = wrong = Clip(start, mover, WAYS[way], f"moving {way}")
        match kind:
            case "direction":
                back = OPPOSITE[way]
                wrong = Clip(moved(start, mover, WAYS[way]), mover, WAYS[back], f"moving {back}")
            case "object":
                wrong = replace(right, index=bystander)
            case "attribute":
                wrong = replace(right, scene=recast(start, mover, "attribute", rng, sized=sized))
            case _:
                wrong = Clip(start, mover, (0, 0), "standing still")
        if _possible(right, setting) and _possible(wrong, setting):
            return right, wrong
    return None


def moved(scene: Scene, index: int, step: tuple[int, int]) -> Scene:
    """The scene with one thing moved by some cells."""
    thing = scene.things[index]
    return scene.having(index, column=thing.column + step[0], row=thing.row + step[1])


def _possible(clip: Clip, setting: Setting) -> bool:
    """Whether a clip begins and ends in a scene of the split, and the cells on its path are empty."""
    if clip.step != (0, 0):
        end = moved(clip.scene, clip.index, clip.step)
        place = (end.things[clip.index].column, end.things[clip.index].row)
        if place not in clip.scene.free() or split_of(end) != setting.split:
            return False
    return clip.scene.tells_apart and split_of(clip.scene) == setting.split
