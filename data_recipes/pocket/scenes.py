"""Scenes: one to four things on a coarse grid, and the split of each.

The split is a function of the scene itself, so that no scene is in two. Six pairs of colour and shape are
held back: a scene that has one is `ood`, whatever else it shows.
"""

from __future__ import annotations

import random
import zlib
from dataclasses import dataclass
from typing import Literal, NamedTuple

Split = Literal["listener", "train", "heldout", "ood"]
Level = Literal[1, 2, 3]

SHAPES = ("circle", "square", "triangle", "star", "cross")
COLOURS = ("red", "orange", "yellow", "green", "blue", "purple")
SIZES = ("small", "large")
HELD_BACK = frozenset(
    {
        ("red", "star"),
        ("orange", "circle"),
        ("yellow", "cross"),
        ("green", "triangle"),
        ("blue", "square"),
        ("purple", "star"),
    }
)
"""Pairs of colour and shape that only `ood` shows."""

BUCKETS: tuple[Split, ...] = ("train",) * 5 + ("listener",) * 2 + ("heldout",) * 2 + ("ood",)
"""The split by a scene's hash modulo ten, unless it shows a held-back pair."""

PLACINGS = 6
"""Placements tried before new things are drawn; this is cheaper, as most scenes belong to another split."""


class Thing(NamedTuple):
    """One thing: its looks and its cell (from the left, from the top, both from 0).

    A tuple, as a build makes some thirty of them for each sample that it keeps.
    """

    shape: str
    colour: str
    size: str
    column: int
    row: int

    def __str__(self) -> str:
        return f"{self.size} {self.colour} {self.shape} at {self.column},{self.row}"


@dataclass(frozen=True, slots=True)
class Scene:
    """Things on a ``grid`` by ``grid`` field, no two in one cell. A thing's index is its identity across changes."""

    things: tuple[Thing, ...]
    grid: int

    @property
    def key(self) -> str:
        """The scene as text; scenes that show the same have the same key."""
        return f"{self.grid}: " + ", ".join(sorted(map(str, self.things)))

    @property
    def tells_apart(self) -> bool:
        """Whether each pair of colour and shape occurs at most once."""
        return len({(t.colour, t.shape) for t in self.things}) == len(self.things)

    def having(self, index: int, **changes: str | int) -> Scene:
        """The scene with one thing changed."""
        things = list(self.things)
        things[index] = things[index]._replace(**changes)  # type: ignore[arg-type]
        return Scene(tuple(things), self.grid)

    def without(self, index: int) -> Scene:
        """The scene without one thing."""
        return Scene(self.things[:index] + self.things[index + 1 :], self.grid)

    def free(self) -> list[tuple[int, int]]:
        """The empty cells, (column, row)."""
        taken = {(t.column, t.row) for t in self.things}
        cells = ((c, r) for r in range(self.grid) for c in range(self.grid))
        return [cell for cell in cells if cell not in taken]


@dataclass(frozen=True, slots=True)
class Difficulty:
    """What makes a level hard: more things, more cells, sizes that matter, things that look alike, scribbles."""

    grid: int
    things: tuple[int, int]
    sized: bool
    alike: float
    """The chance that a thing shares its shape or its colour with the first."""
    clutter: bool


LEVELS: dict[Level, Difficulty] = {
    1: Difficulty(grid=2, things=(1, 2), sized=False, alike=0.2, clutter=False),
    2: Difficulty(grid=2, things=(2, 3), sized=True, alike=0.5, clutter=False),
    3: Difficulty(grid=3, things=(3, 4), sized=True, alike=0.8, clutter=True),
}


def held_back(scene: Scene) -> bool:
    """Whether it shows a pair of colour and shape that training never shows."""
    return any((t.colour, t.shape) in HELD_BACK for t in scene.things)


def split_of(scene: Scene) -> Split:
    """The split of this scene."""
    if held_back(scene):
        return "ood"
    return BUCKETS[zlib.crc32(scene.key.encode()) % len(BUCKETS)]


def compose(
    rng: random.Random, split: Split, level: Level, *, things: tuple[int, int] | None = None, identical: int = 1
) -> Scene:
    """A scene of that split and level; in `ood` always with a held-back pair.

    Args:
        things: how many, from and to; the level's own range unless given.
        identical: the number of them with the same colour, shape and size. All others differ in colour or shape.
    """
    rule = LEVELS[level]
    low, high = things or rule.things
    while True:
        looks = _looks(rng, rule, max(identical, rng.randint(low, high)), identical, ood=split == "ood")
        if split == "ood" and not any(look[1::-1] in HELD_BACK for look in looks):
            continue
        for _ in range(PLACINGS):
            places = rng.sample(range(rule.grid**2), len(looks))
            spots = ((*look, place % rule.grid, place // rule.grid) for look, place in zip(looks, places, strict=True))
            scene = Scene(tuple(Thing(*spot) for spot in spots), rule.grid)
            if split_of(scene) == split:
                return scene


def placed(rng: random.Random, scene: Scene, split: Split) -> Scene:
    """The same things in other cells, in that split; unchanged if no such scene was found."""
    for _ in range(8 * PLACINGS):
        cells = rng.sample(range(scene.grid**2), len(scene.things))
        spots = zip(scene.things, cells, strict=True)
        moved = Scene(tuple(t._replace(column=c % scene.grid, row=c // scene.grid) for t, c in spots), scene.grid)
        if moved.key != scene.key and split_of(moved) == split:
            return moved
    return scene


def _looks(rng: random.Random, rule: Difficulty, n: int, identical: int, *, ood: bool) -> list[tuple[str, str, str]]:
    """Shape, colour and size of so many things, the first ``identical`` of them alike."""
    looks: list[tuple[str, str, str]] = []
    while len(looks) < n:
        if looks and len(looks) < identical:
            looks.append(looks[0])
            continue
        size = rng.choice(SIZES) if rule.sized else "large"
        shape, colour = rng.choice(SHAPES), rng.choice(COLOURS)
        if looks and rng.random() < rule.alike:
            shape, colour = (looks[0][0], colour) if rng.random() < 0.5 else (shape, looks[0][1])
        if any(other[:2] == (shape, colour) for other in looks) or (not ood and (colour, shape) in HELD_BACK):
            continue  # what is described by colour and shape must be one thing
        looks.append((shape, colour, size))
    return looks
