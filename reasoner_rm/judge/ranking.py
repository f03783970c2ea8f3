"""Ranking by pairwise comparisons: every round of a tournament is one batch."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from reasoner_rm.errors import InputError

Pair: TypeAlias = tuple[int, int]
Compare: TypeAlias = Callable[[Sequence[Pair]], Sequence[float | None]]
"""The probability that the first of each pair is better. 0.5 is a tie; None, an unreadable verdict, counts as one."""

Method: TypeAlias = Literal["auto", "round_robin", "swiss", "merge"]

SMALL = 8
"""`auto` compares all pairs up to this many items (28 comparisons)."""


@dataclass(slots=True)
class Ranking:
    """The result of a tournament of N items.

    Attributes:
        order: indices, best first; tied items in the given order.
        ranks: [N] the rank of each item, 1 is the best. Tied items share the least of their ranks (1, 1, 3).
        points: [N] wins, a tie counts half; None unless all pairs were compared.
        undecided: comparisons that decided nothing: ties, votes that depend on the order, unreadable verdicts.
        unread: the unreadable ones among them.
    """

    order: list[int]
    ranks: list[int]
    method: str
    comparisons: int
    points: list[float] | None
    undecided: int
    unread: int


def rank(n: int, compare: Compare, method: Method = "auto") -> Ranking:
    """Rank ``n`` items. Comparisons needed: n(n-1)/2 for `round_robin`, about n/2·(log2(n)+1) for `swiss`, at most
    n·log2(n) for `merge`, where one wrong verdict can misplace an item. `auto`: round robin up to 8 items, then merge.

    Raises:
        InputError: an unknown method, no items, no readable comparison.
    """
    if n < 1:
        raise InputError("nothing to rank", remedy="give at least one image")
    methods = {"round_robin": _round_robin, "swiss": _swiss, "merge": _merge}
    name = ("round_robin" if n <= SMALL else "merge") if method == "auto" else method
    if name not in methods:
        raise InputError(f"unknown ranking method {method!r}", remedy=f"use auto, {', '.join(methods)}")
    table = _Table(n, compare)
    order = methods[name](n, table)
    table.check_read()
    alike = table.tied if name == "merge" else table.level
    ranks = _ranks(order, [alike(a, b) for a, b in itertools.pairwise(order)])
    points = [lead + (n - 1) / 2 for lead in table.leads] if name == "round_robin" else None
    return Ranking(order, ranks, name, table.comparisons, points, table.undecided, table.unread)


def _ranks(order: Sequence[int], tied: Sequence[bool]) -> list[int]:
    """The rank of each item; ``tied``: whether each item of the order but the first is tied with the one before it."""
    ranks = [1] * len(order)
    for place, (item, before, same) in enumerate(zip(order[1:], order, tied, strict=False), start=2):
        ranks[item] = ranks[before] if same else place
    return ranks


def knockout(n: int, compare: Compare) -> tuple[int, int]:
    """The winner of a single-elimination tournament and the number of comparisons, n - 1; the earlier item wins a tie.

    Raises:
        InputError: no items, no readable comparison.
    """
    if n < 1:
        raise InputError("nothing to choose from", remedy="give at least one image")
    table, remaining = _Table(n, compare), list(range(n))
    while len(remaining) > 1:
        pairs = list(zip(remaining[::2], remaining[1::2], strict=False))
        winners = [b if table.second_wins(p) else a for (a, b), p in zip(pairs, table.play(pairs), strict=True)]
        remaining = winners + remaining[2 * len(pairs) :]
    table.check_read()
    return remaining[0], table.comparisons


class _Table:
    """The pairs compared so far, each with the probability of its first item, and how far the wins of every item lead
    its losses, in halves: items may have different numbers of comparisons."""

    def __init__(self, n: int, compare: Compare):
        self.compare, self.comparisons, self.undecided, self.unread = compare, 0, 0, 0
        self.leads = [0.0] * n
        self.played: dict[frozenset[int], float] = {}

    def play(self, pairs: Sequence[Pair]) -> list[float]:
        """One round; an unreadable verdict is a tie."""
        verdicts = self.compare(pairs) if pairs else []
        probs = [0.5 if p is None else p for p in verdicts]
        self.comparisons += len(pairs)
        self.unread += sum(p is None for p in verdicts)
        self.undecided += sum(p == 0.5 for p in probs)
        for (a, b), p in zip(pairs, probs, strict=True):
            self.played[frozenset((a, b))] = p
            self.leads[a] += p - 0.5
            self.leads[b] += 0.5 - p
        return probs

    def check_read(self) -> None:
        """Raises:
        InputError: no comparison was readable, so that there is no order.
        """
        if self.comparisons and self.unread == self.comparisons:
            what = f"none of {self.comparisons} comparisons could be read"
            raise InputError(what, remedy="look at the judge's text with explain()")

    def level(self, a: int, b: int) -> bool:
        """Whether two items lead alike; sums of the same comparisons in another order may differ in the last bits."""
        return math.isclose(self.leads[a], self.leads[b], abs_tol=1e-9)

    def tied(self, a: int, b: int) -> bool:
        """Whether the comparison of two neighbours decided nothing. In a merge sort all neighbours were compared."""
        return self.played[frozenset((a, b))] == 0.5

    @staticmethod
    def second_wins(p: float) -> bool:
        return p < 0.5

    def ranked(self, n: int) -> list[int]:
        return sorted(range(n), key=lambda i: (-self.leads[i], i))


def _round_robin(n: int, table: _Table) -> list[int]:
    table.play(list(itertools.combinations(range(n), 2)))
    return table.ranked(n)


def _swiss(n: int, table: _Table) -> list[int]:
    """Neighbours in the current ranking are compared, no pair twice."""
    for _ in range(math.ceil(math.log2(n)) + 1 if n > 1 else 0):
        left, pairs = table.ranked(n), []
        while left:
            first = left.pop(0)
            other = next((i for i in left if frozenset((first, i)) not in table.played), None)
            if other is not None:
                left.remove(other)
                pairs.append((first, other))
        if not pairs:
            break
        table.play(pairs)
    return table.ranked(n)


def _merge(n: int, table: _Table) -> list[int]:
    """Merge sort; the merges of one level share their batches."""
    runs = [[i] for i in range(n)]
    while len(runs) > 1:
        merges = [_Merge(a, b) for a, b in zip(runs[::2], runs[1::2], strict=False)]
        rest = runs[2 * len(merges) :]
        while active := [m for m in merges if m.left and m.right]:
            for m, p in zip(active, table.play([(m.left[0], m.right[0]) for m in active]), strict=True):
                m.take(second=table.second_wins(p))
        runs = [m.done + m.left + m.right for m in merges] + rest
    return runs[0]


@dataclass(slots=True)
class _Merge:
    left: list[int]
    right: list[int]
    done: list[int] = field(default_factory=list)

    def take(self, second: bool) -> None:
        self.done.append((self.right if second else self.left).pop(0))
