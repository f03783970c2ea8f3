"""Shared by all makers of samples: settings, drafts, candidate orders, votes and verdicts."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from data_recipes.pocket.corruptions import CORRUPTIONS, Corruption
from data_recipes.pocket.drawing import Look, Picture
from data_recipes.pocket.scenes import LEVELS, Level, Scene, Split


@dataclass(frozen=True, slots=True)
class Setting:
    """The options of a pocket world.

    Args:
        side: of an image, in pixels.
        levels: the difficulties to draw from, 1..3.
        corruptions: the kinds of change of the worse image of an image_preference pair.
        voters: the number of voters per pair, from 1; ``p_first`` is the share that prefers the first.
        noise: 0..1, of the voters. A voter errs with probability noise x level / 6: at noise 1 and level 3 it is
            a coin flip.
    """

    split: Split = "train"
    side: int = 56
    levels: tuple[Level, ...] = (1, 2, 3)
    corruptions: tuple[Corruption, ...] = CORRUPTIONS
    voters: int = 5
    noise: float = 0.0

    @property
    def ood(self) -> bool:
        return self.split == "ood"

    def look(self, rng: random.Random, level: Level, *, anywhere: bool = False) -> Look:
        """The look of images of this split and level; in `ood`, outlines on dark paper.

        Args:
            anywhere: things stand anywhere on the paper; only where no text names a place.
        """
        rule = LEVELS[level]
        return Look.draw(rng, dark=self.ood, hollow=self.ood, clutter=rule.clutter, anywhere=anywhere, sized=rule.sized)


@dataclass(frozen=True, slots=True)
class Draft:
    """A sample before it is drawn; fields as in `Sample`. A clip is one video's frames.

    ``root`` is the scene that the sample was made from: samples of one scene share a group.
    """

    prompt: str
    root: Scene
    target: str
    gold: Mapping[str, Any]
    level: Level
    pictures: tuple[Picture, ...] = ()
    clips: tuple[tuple[Picture, ...], ...] = ()
    responses: tuple[str, ...] = ()
    meta: Mapping[str, Any] = field(default_factory=dict)


Maker: TypeAlias = Callable[[random.Random, Setting], Draft]


@dataclass(frozen=True, slots=True)
class VotedPair:
    """The order in which a right and a wrong candidate are shown, and the votes."""

    order: list[int]
    p_first: float
    noun: str

    @classmethod
    def draw(cls, rng: random.Random, setting: Setting, level: Level, noun: str) -> VotedPair:
        order = rng.choice(([0, 1], [1, 0]))
        errs = setting.noise * level / 6
        right = sum(rng.random() >= errs for _ in range(setting.voters)) / setting.voters
        return cls(order, right if order[0] == 0 else 1 - right, noun)

    def shown(self, right: Any, wrong: Any) -> tuple[Any, Any]:
        """The two candidates in shown order."""
        first, second = ((right, wrong)[k] for k in self.order)
        return first, second

    def target(self, request: str, right: str, wrong: str) -> str:
        """The reasoning of a target: the request, what each candidate shows, whether it fits, and the true verdict.

        An answer is called right or wrong instead: "says no: yes" would confuse.
        """
        verb, good, bad = ("says", "right", "wrong") if self.noun == "Answer" else ("shows", "yes", "no")
        shown = self.shown(f"{right}: {good}.", f"{wrong}: {bad}.")
        statements = " ".join(f"{self.noun} {i} {verb} {text}" for i, text in enumerate(shown, start=1))
        return target_text(f"{request} {statements}", f"{self.noun} {self.truth} is better")

    @property
    def truth(self) -> int:
        """Which candidate is right, 1 or 2."""
        return self.order.index(0) + 1

    @property
    def gold(self) -> dict[str, float]:
        return {"p_first": self.p_first}

    @property
    def meta(self) -> dict[str, Any]:
        return {"order": self.order, "truth": self.truth}


def target_text(thinking: str, answer: str) -> str:
    """A target: the reasoning, then the answer in its container."""
    return f"<think>{thinking}</think>\n<answer>{answer}</answer>"


def scene_texts(scenes: Sequence[Scene]) -> list[list[str]]:
    """Scenes for ``meta``: a line a thing."""
    return [[str(thing) for thing in scene.things] for scene in scenes]
