"""What a judge answered about an item, as a predictions file stores it: every vote, unparsed."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from reasoner_rm.sampling.votes import Order, in_order
from reasoner_rm.schema import Sample


@dataclass(frozen=True, slots=True)
class Prediction:
    """One vote on an item in one order.

    A judge gives a ``text`` that a protocol's parser reads, or ``scores`` of the candidates as shown (a scalar head),
    or a ``choice`` as shown (0 or 1). ``scale`` converts the boxes of a text to original pixels (factors of x and y).
    ``grades`` are the votes of a grader on the text. ``listener`` and ``confidence`` are the probabilities that a
    listener and the judge itself give to the task's options after the reasoning, as shown.
    """

    order: Order
    number: int
    text: str | None = None
    scores: tuple[float, ...] | None = None
    choice: int | None = None
    tokens: int | None = None
    finish: str | None = None
    scale: tuple[float, float] | None = None
    grades: tuple[Prediction, ...] = ()
    listener: tuple[float, ...] | None = None
    confidence: tuple[float, ...] | None = None

    def as_json(self) -> dict[str, Any]:
        """Without the fields that hold nothing."""
        row: dict[str, Any] = {"order": self.order, "vote": self.number}
        for name in ("text", "scores", "choice", "tokens", "finish", "scale", "listener", "confidence"):
            if getattr(self, name) is not None:
                row[name] = getattr(self, name)
        return row | ({"grades": [grade.as_json() for grade in self.grades]} if self.grades else {})

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Prediction:
        """
        Raises:
            KeyError, TypeError, ValueError: the row is no vote.
        """
        order, text, choice = row["order"], row.get("text"), row.get("choice")
        if order not in ("given", "swapped") or not isinstance(text, (str, type(None))) or choice not in (None, 0, 1):
            raise ValueError(f"no vote: {str(row)[:80]}")
        scale = None if row.get("scale") is None else (float(row["scale"][0]), float(row["scale"][1]))
        return cls(
            order, int(row["vote"]), text, _floats(row.get("scores")), choice, row.get("tokens"), row.get("finish"),
            scale, tuple(cls.from_json(grade) for grade in row.get("grades", ())), _floats(row.get("listener")),
            _floats(row.get("confidence")),
        )  # fmt: skip


def _floats(values: Any) -> tuple[float, ...] | None:
    return None if values is None else tuple(map(float, values))


@dataclass(frozen=True, slots=True)
class AnsweredItem:
    """An item, in the benchmark's own order, with all votes on it. ``cache`` keeps what was parsed out of them, so
    that each text is parsed once by each parser."""

    sample: Sample
    predictions: tuple[Prediction, ...]
    cache: dict[Hashable, Any] = field(default_factory=dict, compare=False, repr=False)

    def parse(self, prediction: Prediction, parser: Callable[[str, Sample], Any]) -> Any:
        """What a parser reads out of a vote's text; None if it has none."""
        key = (prediction.order, prediction.number, parser)
        if key not in self.cache:
            text = prediction.text
            self.cache[key] = None if text is None else parser(text, self.in_order(prediction.order))
        return self.cache[key]

    def in_order(self, order: Order) -> Sample:
        """The item as a vote was asked about it."""
        if order not in self.cache:
            self.cache[order] = in_order(self.sample, order)
        sample: Sample = self.cache[order]
        return sample

    def with_predictions(self, predictions: Sequence[Prediction]) -> AnsweredItem:
        return AnsweredItem(self.sample, tuple(predictions))
