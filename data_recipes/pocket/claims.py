"""Statements about a scene, each with a text and a test of its truth.

A claim refers to the things of a scene by index. The same claim about a changed scene describes what that scene shows
in the same words: "a red circle left of a blue square", "a green circle left of a blue square".
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TypeAlias

from data_recipes.pocket.scenes import Scene, Thing

NUMBERS = ("zero", "one", "two", "three", "four", "five")
RELATIONS = (("left of", "right of"), ("above", "below"))
"""Per axis (columns, rows): the words if the first thing has the smaller coordinate, and if it has the greater."""

FRAMES = ("{}", "a picture of {}", "an image with {}", "a drawing of {}")
OOD_FRAMES = ("here {} can be seen", "you can see {}")
OOD_RELATIONS = {"left of": "to the left of", "right of": "to the right of", "above": "over", "below": "under"}


@dataclass(frozen=True, slots=True)
class Noun:
    """A description of one thing; ``size`` is empty where sizes do not matter."""

    colour: str
    shape: str
    size: str = ""

    def __str__(self) -> str:
        return f"{self.size} {self.colour} {self.shape}".strip()

    @property
    def a(self) -> str:
        """With its article.

        >>> Noun("orange", "star").a
        'an orange star'
        """
        return f"{article(str(self))} {self}"

    def fits(self, thing: Thing) -> bool:
        return (thing.colour, thing.shape) == (self.colour, self.shape) and self.size in ("", thing.size)


@dataclass(frozen=True, slots=True)
class Presence:
    """Each of these is there."""

    nouns: tuple[Noun, ...]

    def __str__(self) -> str:
        return listed([noun.a for noun in self.nouns])

    def holds(self, scene: Scene) -> bool:
        return all(any(noun.fits(t) for t in scene.things) for noun in self.nouns)


@dataclass(frozen=True, slots=True)
class Relation:
    """A spatial relation of two things."""

    one: Noun
    word: str
    other: Noun

    def __str__(self) -> str:
        return f"{self.one.a} {self.word} {self.other.a}"

    def holds(self, scene: Scene) -> bool:
        ones, others = ([t for t in scene.things if noun.fits(t)] for noun in (self.one, self.other))
        return any(related(a, self.word, b) for a in ones for b in others if a is not b)


@dataclass(frozen=True, slots=True)
class Count:
    """A count of things."""

    number: int
    noun: Noun

    def __str__(self) -> str:
        return f"{NUMBERS[self.number]} {plural(str(self.noun), self.number)}"

    def holds(self, scene: Scene) -> bool:
        return sum(map(self.noun.fits, scene.things)) == self.number


Claim: TypeAlias = Presence | Relation | Count


def noun(thing: Thing, sized: bool) -> Noun:
    """The description of a thing."""
    return Noun(thing.colour, thing.shape, thing.size if sized else "")


def presence(scene: Scene, of: tuple[int, ...], sized: bool) -> Presence:
    """The claim that these things are present."""
    return Presence(tuple(noun(scene.things[i], sized) for i in of))


def relation(scene: Scene, of: tuple[int, int], axis: int, sized: bool) -> Relation:
    """The relation of two things along an axis on which they differ."""
    one, other = (scene.things[i] for i in of)
    first, second = ((t.column, t.row)[axis] for t in (one, other))
    return Relation(noun(one, sized), RELATIONS[axis][first > second], noun(other, sized))


def related(a: Thing, word: str, b: Thing) -> bool:
    """Whether ``a`` has this relation to ``b``."""
    match word:
        case "left of":
            return a.column < b.column
        case "right of":
            return a.column > b.column
        case "above":
            return a.row < b.row
        case _:
            return a.row > b.row


def caption(claim: Claim, rng: random.Random, *, ood: bool) -> str:
    """A claim as a caption; `ood` has phrasings of its own."""
    return rng.choice(OOD_FRAMES if ood else FRAMES).format(reworded(claim) if ood else claim)


def reworded(claim: Claim) -> str:
    """A claim with its relation in other words.

    >>> reworded(Relation(Noun("red", "star"), "above", Noun("blue", "cross")))
    'a red star over a blue cross'
    """
    if isinstance(claim, Relation):
        return f"{claim.one.a} {OOD_RELATIONS[claim.word]} {claim.other.a}"
    return str(claim)


def against(shown: str, asked: str) -> str:
    """What is shown, with `not` and the asked word after each word that differs. Both texts have the same structure.

    >>> against("an orange circle left of a star", "a red circle right of a star")
    'an orange, not red, circle left, not right, of a star'
    >>> against("two red squares", "one red square")
    'two, not one, red squares'
    """
    pairs = zip(shown.split(), asked.split(), strict=True)
    words = (word if _alike(word, other) else f"{word}, not {other}," for word, other in pairs)
    return " ".join(words).removesuffix(",")


def _alike(one: str, other: str) -> bool:
    """Whether two words differ in nothing but number, or are both articles."""
    return one == other or {one, other} <= {"a", "an"} or plural(one, 2) == other or plural(other, 2) == one


def article(text: str) -> str:
    """`a` or `an`, by the next word."""
    return "an" if text[0] in "aeiou" else "a"


def plural(text: str, number: int) -> str:
    """
    >>> plural("red cross", 2), plural("star", 1)
    ('red crosses', 'star')
    """
    return text if number == 1 else text + ("es" if text.endswith("s") else "s")


def listed(texts: list[str]) -> str:
    """
    >>> listed(["a star", "a cross", "a circle"])
    'a star, a cross and a circle'
    """
    return " and ".join(filter(None, (", ".join(texts[:-1]), texts[-1])))
