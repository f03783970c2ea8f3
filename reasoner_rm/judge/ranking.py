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
    """``order``: the indices of N items, best first. ``points`` [N]: wins, a tie counts half. ``unread``: comparisons
    without a readable verdict, which count as ties."""

    order: list[int]
    method: str
    comparisons: int
    points: list[float] = field(default_factory=list)
    unread: int = 0


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
    return Ranking(order, name, table.comparisons, table.points, table.unread)


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
    """The pairs compared so far and the points of every item."""

    def __init__(self, n: int, compare: Compare):
        self.compare, self.comparisons, self.unread = compare, 0, 0
        self.points = [0.0] * n
        self.played: set[frozenset[int]] = set()

    def play(self, pairs: Sequence[Pair]) -> list[float]:
        """One round; an unreadable verdict is a tie."""
        verdicts = self.compare(pairs) if pairs else []
        probs = [0.5 if p is None else p for p in verdicts]
        self.comparisons += len(pairs)
        self.unread += sum(p is None for p in verdicts)
        for (a, b), p in zip(pairs, probs, strict=True):
            self.played.add(frozenset((a, b)))
            self.points[a] += p
            self.points[b] += 1 - p
        return probs

    def check_read(self) -> None:
        """Raises:
        InputError: no comparison was readable, so that there is no order.
        """
        if self.comparisons and self.unread == self.comparisons:
            what = f"none of {self.comparisons} comparisons could be read"
            raise InputError(what, remedy="look at the judge's text with explain()")

    @staticmethod
    def second_wins(p: float) -> bool:
        return p < 0.5

    def ranked(self, n: int) -> list[int]:
        return sorted(range(n), key=lambda i: (-self.points[i], i))


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
