"""How a benchmark is scored, as data: every published protocol is a point in this space."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

from reasoner_rm.errors import InputError
from reasoner_rm.evaluation.predictions import AnsweredItem, Prediction
from reasoner_rm.evaluation.results import Average, ItemScores
from reasoner_rm.evaluation.verdict_parsers import task_answer
from reasoner_rm.sampling.votes import Order
from reasoner_rm.schema import PAIRWISE_TASKS, Sample
from reasoner_rm.utils.seeding import stable_seed

Orders = Literal["given", "random", "both", "best_first", "parity"]
Combine = Literal["mean", "majority", "strict"]
Tie = Literal["drop", "wrong", "right", "half", "exact", "calibrated"]
Unparsed = Literal["wrong", "coin", "exclude"]

Parser: TypeAlias = Callable[[str, Sample], Any]
"""What a text answers about a sample as it was shown; None when nothing can be read. Never raises."""

MetricFn: TypeAlias = "Callable[[Sequence[AnsweredItem], Protocol], ItemScores]"
"""The score of every item under a protocol, and the metrics that follow from them."""


@dataclass(frozen=True, slots=True)
class Protocol:
    """One way to ask and to count.

    Asking
        order: `given` by the benchmark; `random`, drawn for each vote by ``seed``; `both`; `best_first`, the right one
            always first, as some published scripts do; `parity`, by the parity of both answers' length (lmms-eval).
        votes: their number K; in `both` orders K in each.
        temperature, top_p: of the sampling; 0 is greedy.
        template: a file of `evaluation/templates`; empty: the task's own.
        parser: reads the verdict out of a text.

    Counting
        combine: an item's score is the `mean` over its votes, that of their `majority` (equal counts are a tie), or of
            more than half of all its votes (`strict`; without one the item is left out).
        tie: rows whose gold is a tie are left out of `drop` and `wrong`; a tied verdict on another row is left out, or
            wrong. `right`: a tie on either side agrees with anything. `half`: a tie on one side alone is worth 0.5.
            `exact`: a verdict must say what the gold says. `calibrated`: exact, where a verdict is a tie if its margin
            is at most the ε that makes the accuracy greatest on these very data (arXiv 2305.14324).
        threshold: verdicts whose margin is at most so large are ties.
        unparsed: an unreadable vote is `wrong`, a `coin` by ``seed``, or left out (`exclude`). Where it is not left
            out, it is one of the votes of which `strict` needs more than half.
        average: over items (`micro`), over the kinds of the facet ``over`` (`macro`), or of units: those items that
            share ``over`` are right if they are `all` right. ``over`` may also be `group_id`.
        metric: what is counted; None: the accuracy of verdicts on pairs.
    """

    name: str
    about: str = ""
    order: Orders = "both"
    votes: int = 1
    temperature: float = 0.0
    top_p: float = 1.0
    template: str = ""
    parser: Parser = task_answer
    combine: Combine = "mean"
    tie: Tie = "wrong"
    threshold: float = 0.0
    unparsed: Unparsed = "wrong"
    average: Average = "micro"
    over: str = "group"
    metric: MetricFn | None = None
    seed: int = 0

    def with_options(self, **options: Any) -> Protocol:
        """This protocol with other values, and a name that states them.

        Raises:
            InputError: an unknown option, or a value that it does not take.
        """
        for option, value in options.items():
            if option not in OPTIONS:
                raise InputError(f"a protocol has no option {option!r}", remedy=f"there are {', '.join(OPTIONS)}")
            allowed = _CHOICES.get(option)
            if allowed and value not in allowed:
                raise InputError(f"{option} is {value!r}", remedy=f"choose among {', '.join(allowed)}")
        if options.get("votes", 1) < 1 or options.get("temperature", 0) < 0 or options.get("threshold", 0) < 0:
            raise InputError("votes are at least 1, temperature and threshold at least 0")
        if not 0 < options.get("top_p", 1) <= 1:
            raise InputError(f"top_p is {options['top_p']}", remedy="give more than 0, and at most 1")
        changed = {k: v for k, v in options.items() if v != getattr(self, k)}
        stated = ", ".join(f"{k}={v}" for k, v in changed.items())
        return dataclasses.replace(self, **changed, name=f"{self.name} ({stated})") if changed else self

    @property
    def published(self) -> str:
        """The name without the options that were changed."""
        return self.name.partition(" (")[0]

    def as_json(self) -> dict[str, Any]:
        row: dict[str, Any] = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {k: getattr(v, "__name__", v) if callable(v) else v for k, v in row.items()}

    def orders(self, sample: Sample, vote: int) -> tuple[Order, ...]:
        """In which order a vote sees an item."""
        if sample.task not in PAIRWISE_TASKS:
            return ("given",)
        match self.order:
            case "given":
                return ("given",)
            case "both":
                return ("given", "swapped")
            case "random":
                swap = stable_seed("shown", self.seed, sample.id, vote) & 1
            case "best_first":
                swap = int(gold_share(sample) < 0.5)
            case "parity":
                swap = sum(map(len, sample.responses)) % 2
        return ("swapped",) if swap else ("given",)

    def required_votes(self, sample: Sample) -> list[tuple[Order, int]]:
        """All votes that an item gets: order and number."""
        return [(order, vote) for vote in range(self.votes) for order in self.orders(sample, vote)]

    def counted(self, item: AnsweredItem) -> list[Prediction]:
        """The votes of an item that this protocol counts, out of all that are stored.

        Raises:
            InputError: votes that it needs are not stored.
        """
        stored = {(prediction.order, prediction.number): prediction for prediction in item.predictions}
        required = self.required_votes(item.sample)
        missing = [key for key in required if key not in stored]
        if missing:
            order, number = missing[0]
            raise InputError(
                f"protocol {self.name!r} needs vote {number + 1} of item {item.sample.id!r} in {order} order, "
                "which is not stored",
                remedy="evaluate with --order both and as many --votes, or choose a protocol that needs less",
            )
        return [stored[key] for key in required]


_CHOICES = {
    "order": get_args(Orders), "combine": get_args(Combine), "tie": get_args(Tie),
    "unparsed": get_args(Unparsed), "average": get_args(Average),
}  # fmt: skip
OPTIONS = (*_CHOICES, "votes", "temperature", "top_p", "threshold", "seed", "over")


def gold_share(sample: Sample) -> float:
    """How sure the gold is that the first candidate is better, 0..1; 0.5 is a tie, or nothing known."""
    return float(sample.gold.get("p_first", 0.5))
