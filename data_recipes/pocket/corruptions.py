"""Pairs of a scene that a caption fits and the same scene with one change, by the name of the corruption."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Literal, TypeAlias, get_args

from data_recipes.pocket.claims import Claim, Count, noun, presence, relation
from data_recipes.pocket.scenes import COLOURS, LEVELS, SHAPES, SIZES, Level, Scene, Split, compose, held_back, split_of

Corruption = Literal["attribute", "object", "count", "relation"]
CORRUPTIONS: tuple[Corruption, ...] = get_args(Corruption)
TRIES = 12
"""Changes tried per scene; few of them stay within a small split."""


def other(rng: random.Random, known: tuple[str, ...], than: str) -> str:
    """Another word of a vocabulary."""
    return rng.choice([word for word in known if word != than])


def recast(scene: Scene, index: int, kind: str, rng: random.Random, *, sized: bool) -> Scene:
    """The scene with another colour or size (`attribute`) or another shape (`object`) of one thing."""
    thing = scene.things[index]
    if kind == "object":
        return scene.having(index, shape=other(rng, SHAPES, thing.shape))
    if sized and rng.random() < 0.4:
        return scene.having(index, size=other(rng, SIZES, thing.size))
    return scene.having(index, colour=other(rng, COLOURS, thing.colour))


def exchanged(scene: Scene, one: int, two: int) -> Scene:
    """The scene with two things in each other's places."""
    a, b = scene.things[one], scene.things[two]
    return scene.having(one, column=b.column, row=b.row).having(two, column=a.column, row=a.row)


def contrast(rng: random.Random, split: Split, level: Level, kind: Corruption) -> tuple[Scene, Claim, Scene, Claim]:
    """A scene with a true claim, then the corrupted scene with the claim that is true there.

    Both scenes belong to the split, and the first claim does not hold in the second scene.
    """
    while True:
        for right, wrong, claim_of in _attempts(rng, split, level, kind):
            if split_of(wrong) == split == split_of(right) and (kind == "count" or wrong.tells_apart):
                claim, shown = claim_of(right), claim_of(wrong)
                if claim.holds(wrong) or shown.holds(right) or not shown.holds(wrong):
                    continue
                if rng.random() < 0.5 and (
                    split != "ood" or held_back(wrong)
                ):  # so that no image matches the wrong claim
                    return wrong, shown, right, claim
                return right, claim, wrong, shown


Attempt: TypeAlias = tuple[Scene, Scene, Callable[[Scene], Claim]]
"""A scene, its corruption, and how the claim is made of either."""


def _attempts(rng: random.Random, split: Split, level: Level, kind: Corruption) -> Iterator[Attempt]:
    """Changes of one scene; some leave the split or change nothing."""
    if kind == "count":
        yield _counts(rng, split, level)
        return
    sized = LEVELS[level].sized
    low, high = LEVELS[level].things
    related = kind == "relation" or rng.random() < 0.5
    right = compose(rng, split, level, things=(2, high) if related else (low, high))
    named = rng.sample(range(len(right.things)), min(len(right.things), 2))
    axes = [a for a in (0, 1) if len({(right.things[i].column, right.things[i].row)[a] for i in named}) == 2]
    axis = rng.choice(axes) if axes else 0

    def claim_of(scene: Scene) -> Claim:
        if related:
            return relation(scene, (named[0], named[1]), axis, sized)
        return presence(scene, tuple(named), sized)

    for _ in range(TRIES):
        if kind == "relation":
            yield right, exchanged(right, named[0], named[1]), claim_of
        else:
            yield right, recast(right, rng.choice(named), kind, rng, sized=sized), claim_of


def _counts(rng: random.Random, split: Split, level: Level) -> Attempt:
    """A number of things of one kind, and one fewer."""
    more = rng.randint(2, 2 + (level > 1))
    full = compose(rng, split, level, things=(more, 4 if level == 3 else more + (level > 1)), identical=more)
    few = full.without(rng.randrange(more))
    kind = noun(full.things[0], sized=False)

    def claim_of(scene: Scene) -> Claim:
        return Count(sum(map(kind.fits, scene.things)), kind)

    return full, few, claim_of
