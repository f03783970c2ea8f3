"""How a judge behaves, apart from accuracy: unreadable and cut-off votes, ties, position bias, consistency, length."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from reasoner_rm.evaluation.pairwise import ParsedVote, gold_verdict, is_pairwise, parse_vote
from reasoner_rm.evaluation.predictions import AnsweredItem
from reasoner_rm.evaluation.protocol import Protocol
from reasoner_rm.evaluation.verdict_parsers import parse_completion, task_answer

VERDICT_NAMES = ("first", "second", "tie", "tie", "tie")


@dataclass(frozen=True, slots=True)
class Diagnostics:
    """Shares in 0..1 over the counted votes; None where nothing could be counted.

    unparsed: votes that cannot be read. truncated: votes cut off at their limit.
    well_formed: votes in the format of the task, where the task's own parser reads them.
    ties: readable verdicts that are ties. gold_ties: items whose gold is one.
    first_position: of the verdicts for one candidate, those for the one shown first; 0.5 is unbiased if both orders
        are asked, or the order is drawn.
    consistency: of the votes cast in both orders, those for the same candidate in both; unreadable is inconsistent.
    tokens: per item, over all its counted votes.
    confusion: for each order, counts of verdicts by gold, both as shown.
    """

    votes: int
    unparsed: float | None
    truncated: float | None
    well_formed: float | None
    ties: float | None
    gold_ties: int
    first_position: float | None
    consistency: float | None
    tokens: float | None
    confusion: Mapping[str, Mapping[str, Mapping[str, int]]] = field(default_factory=dict)


def diagnose(items: Sequence[AnsweredItem], protocol: Protocol) -> Diagnostics:
    """The diagnostics of the votes that a protocol counts."""
    counted = [(item, protocol.counted(item)) for item in items]
    votes = [vote for _, predictions in counted for vote in predictions]
    tokens = [vote.tokens for vote in votes]
    pairs = [item for item in items if is_pairwise(item)]
    rows = [[parse_vote(item, vote, protocol) for vote in protocol.counted(item)] for item in pairs]
    parsed = [vote for row in rows for vote in row]
    sides = [vote.as_shown for vote in parsed if vote.verdict is not None and not vote.verdict.is_tie]
    unparsed = [vote.verdict is None for vote in parsed] + [
        item.parse(vote, protocol.parser) is None
        for item, predictions in counted
        if not is_pairwise(item)
        for vote in predictions
    ]
    return Diagnostics(
        votes=len(votes),
        unparsed=_share(unparsed),
        truncated=_share([vote.finish == "length" for vote in votes if vote.finish is not None]),
        well_formed=_well_formed(items, protocol),
        ties=_share([vote.verdict.is_tie for vote in parsed if vote.verdict is not None]),
        gold_ties=sum(gold_verdict(item.sample).is_tie for item in pairs),
        first_position=_share([side == 0 for side in sides]),
        consistency=_share([same for row in rows for same in _same_in_both_orders(row)]),
        tokens=round(sum(t for t in tokens if t is not None) / len(items), 1) if items and None not in tokens else None,
        confusion=_confusion(pairs, rows),
    )


def _well_formed(items: Sequence[AnsweredItem], protocol: Protocol) -> float | None:
    if protocol.parser is not task_answer:
        return None
    return _share([
        item.parse(vote, parse_completion).well_formed
        for item in items
        for vote in protocol.counted(item)
        if vote.text is not None
    ])  # fmt: skip


def _same_in_both_orders(row: Sequence[ParsedVote]) -> list[bool]:
    """Of each vote cast in both orders: whether it names the same candidate twice."""
    by_number: dict[int, dict[str, ParsedVote]] = {}
    for vote in row:
        by_number.setdefault(vote.prediction.number, {})[vote.prediction.order] = vote
    pairs = [(p["given"].verdict, p["swapped"].verdict) for p in by_number.values() if len(p) == 2]
    return [given is not None and given == swapped for given, swapped in pairs]


def _confusion(
    items: Sequence[AnsweredItem], rows: Sequence[Sequence[ParsedVote]]
) -> dict[str, dict[str, dict[str, int]]]:
    counts: Counter[tuple[str, str, str]] = Counter()
    for item, row in zip(items, rows, strict=True):
        gold = gold_verdict(item.sample)
        for vote in row:
            order, verdict = vote.prediction.order, vote.as_shown
            right = gold.swapped if order == "swapped" else gold
            counts[order, VERDICT_NAMES[right], "unreadable" if verdict is None else VERDICT_NAMES[verdict]] += 1
    table: dict[str, dict[str, dict[str, int]]] = {}
    for (shown, right_name, verdict_name), n in sorted(counts.items()):
        table.setdefault(shown, {}).setdefault(right_name, {})[verdict_name] = n
    return table


def _share(values: Sequence[Any]) -> float | None:
    return round(sum(map(bool, values)) / len(values), 4) if values else None
