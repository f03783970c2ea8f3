"""What a judge said of an item, as it stands in a predictions file: every vote, raw."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from reasoner_rm.sampling.votes import Order
from reasoner_rm.schema import Sample


@dataclass(frozen=True, slots=True)
class Vote:
    """One answer to an item shown in one order.

    A judge gives a ``text`` that a protocol reads, or ``scores`` of the candidates as they were shown (a scalar head),
    or a ``choice`` as shown (0 or 1). ``scale`` brings the boxes of a text to original pixels (x, y). ``grades`` are
    what a grader wrote about the text.
    """

    order: Order
    number: int
    text: str | None = None
    scores: tuple[float, ...] | None = None
    choice: int | None = None
    tokens: int | None = None
    finish: str | None = None
    scale: tuple[float, float] | None = None
    grades: tuple[Vote, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Without the fields that say nothing."""
        row: dict[str, Any] = {"order": self.order, "vote": self.number}
        for name in ("text", "scores", "choice", "tokens", "finish", "scale"):
            if getattr(self, name) is not None:
                row[name] = getattr(self, name)
        return row | ({"grades": [g.as_json() for g in self.grades]} if self.grades else {})

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Vote:
        """
        Raises:
            KeyError, TypeError, ValueError: the row is no vote.
        """
        order, text, choice = row["order"], row.get("text"), row.get("choice")
        if order not in ("given", "swapped") or not isinstance(text, (str, type(None))) or choice not in (None, 0, 1):
            raise ValueError(f"no vote: {str(row)[:80]}")
        scores = None if row.get("scores") is None else tuple(map(float, row["scores"]))
        scale = None if row.get("scale") is None else (float(row["scale"][0]), float(row["scale"][1]))
        grades = tuple(cls.from_json(g) for g in row.get("grades", ()))
        return cls(
            order, int(row["vote"]), text, scores, choice, row.get("tokens"), row.get("finish"), scale, grades
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class AnsweredItem:
    """An item, in the benchmark's own order, with its votes. ``known`` keeps what was read out of them, so that each
    text is read once, whatever is counted."""

    sample: Sample
    votes: tuple[Vote, ...]
    known: dict[Hashable, Any] = field(default_factory=dict, compare=False, repr=False)

    def said(self, vote: Vote, reader: Callable[[str, Sample], Any]) -> Any:
        """What a reader makes of a vote's text; None if there is none."""
        key = (vote.order, vote.number, reader)
        if key not in self.known:
            self.known[key] = None if vote.text is None else reader(vote.text, self.shown(vote.order))
        return self.known[key]

    def shown(self, order: Order) -> Sample:
        """The item as a vote saw it."""
        if order not in self.known:
            self.known[order] = shown(self.sample, order)
        found: Sample = self.known[order]
        return found

    def with_votes(self, votes: Sequence[Vote]) -> AnsweredItem:
        return AnsweredItem(self.sample, tuple(votes))


def shown(sample: Sample, order: Order) -> Sample:
    """The item in an order."""
    return sample if order == "given" else sample.swapped()
