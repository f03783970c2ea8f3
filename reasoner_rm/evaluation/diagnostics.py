"""How a judge behaves, whatever it is worth: what it leaves unread, its ties, its liking for a place, its length."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from reasoner_rm.evaluation.pairwise import ParsedVote, gold_of, read
from reasoner_rm.evaluation.protocol import Protocol
from reasoner_rm.evaluation.votes import AnsweredItem
from reasoner_rm.schema import PAIRWISE_TASKS

NAMES = ("first", "second", "tie", "tie", "tie")


@dataclass(frozen=True, slots=True)
class Diagnostics:
    """Shares in 0..1 over the counted votes; None where nothing could be counted.

    unparsed: votes that cannot be read. truncated: votes cut off at their limit.
    ties: readable verdicts that are ties. gold_ties: items whose gold is one.
    first_position: of the verdicts for one candidate, those for the one shown first; 0.5 is unbiased if both orders
        are asked, or the order is drawn.
    consistency: of the votes cast in both orders, those for the same candidate in both; unreadable is inconsistent.
    tokens: per item, over all its counted votes.
    confusion: for each order, counts of what is right by what was said, both as shown.
    """

    votes: int
    unparsed: float | None
    truncated: float | None
    ties: float | None
    gold_ties: int
    first_position: float | None
    consistency: float | None
    tokens: float | None
    confusion: Mapping[str, Mapping[str, Mapping[str, int]]] = field(default_factory=dict)


def habits(items: Sequence[AnsweredItem], protocol: Protocol) -> Diagnostics:
    """The habits that show in the votes which a protocol counts."""
    counted = [(item, protocol.counted(item)) for item in items]
    votes = [vote for _, cast in counted for vote in cast]
    tokens = [vote.tokens for vote in votes]
    found = [[read(item, vote, protocol) for vote in cast] for item, cast in counted if compares(item)]
    flat = [r for row in found for r in row]
    sides = [r.as_shown for r in flat if r.said is not None and not r.said.is_tie]
    single = [item.said(vote, protocol.reader) is None for item, cast in counted if not compares(item) for vote in cast]
    unread = [r.said is None for r in flat] + single
    return Diagnostics(
        votes=len(votes),
        unparsed=_share(unread),
        truncated=_share([vote.finish == "length" for vote in votes if vote.finish is not None]),
        ties=_share([r.said.is_tie for r in flat if r.said is not None]),
        gold_ties=sum(gold_of(item.sample).is_tie for item in items if compares(item)),
        first_position=_share([side == 0 for side in sides]),
        consistency=_share([same for row in found for same in _in_both(row)]),
        tokens=round(sum(t for t in tokens if t is not None) / len(items), 1) if items and None not in tokens else None,
        confusion=_confusion([item for item in items if compares(item)], found),
    )


def compares(item: AnsweredItem) -> bool:
    return item.sample.task in PAIRWISE_TASKS


def _in_both(row: Sequence[ParsedVote]) -> list[bool]:
    """Of each vote cast in both orders: whether it names the same candidate twice."""
    by: dict[int, dict[str, ParsedVote]] = {}
    for r in row:
        by.setdefault(r.vote.number, {})[r.vote.order] = r
    pairs = [(p["given"].said, p["swapped"].said) for p in by.values() if len(p) == 2]
    return [one is not None and one == other for one, other in pairs]


def _confusion(
    items: Sequence[AnsweredItem], found: Sequence[Sequence[ParsedVote]]
) -> dict[str, dict[str, dict[str, int]]]:
    counts: Counter[tuple[str, str, str]] = Counter()
    for item, row in zip(items, found, strict=True):
        gold = gold_of(item.sample)
        for r in row:
            right = gold.swapped if r.vote.order == "swapped" else gold
            said = r.as_shown
            counts[r.vote.order, NAMES[right], "unreadable" if said is None else NAMES[said]] += 1
    table: dict[str, dict[str, dict[str, int]]] = {}
    for (order, better, what), n in sorted(counts.items()):
        table.setdefault(order, {}).setdefault(better, {})[what] = n
    return table


def _share(values: Sequence[Any]) -> float | None:
    return round(sum(map(bool, values)) / len(values), 4) if values else None
