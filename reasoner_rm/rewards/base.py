"""What a reward is: a pure function of a group, with a name and a declared range."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from reasoner_rm.schema import Group, Parsed, RewardContext

Scorer = Callable[[Group, Sequence[Parsed], RewardContext], list[float | None]]


@dataclass(frozen=True, slots=True)
class Reward:
    """A named component. ``score`` returns G values within ``range``; None means that it could not be scored.

    It never raises on a model's text and never pays for an answer that it could not read.
    """

    name: str
    range: tuple[float, float]
    score: Scorer
    needs_listener: bool = False

    @property
    def doc(self) -> str:
        return (self.score.__doc__ or "").strip()
