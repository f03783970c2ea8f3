"""Tournaments, against orders that are known."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import pytest
from scipy.stats import rankdata

from reasoner_rm.errors import InputError
from reasoner_rm.judge.ranking import Pair, knockout, rank


class Referee:
    """Knows how good everybody is, and counts what it is asked."""

    def __init__(self, worth: Sequence[float], noise: float = 0.0, seed: int = 0):
        self.worth, self.noise, self.rng = worth, noise, random.Random(seed)
        self.asked: list[Pair] = []
        self.rounds = 0

    def __call__(self, pairs: Sequence[Pair]) -> list[float | None]:
        self.asked += pairs
        self.rounds += 1
        return [self._verdict(a, b) for a, b in pairs]

    def _verdict(self, a: int, b: int) -> float | None:
        if self.worth[a] == self.worth[b]:
            return 0.5
        right = self.worth[a] > self.worth[b]
        return float(right if self.rng.random() >= self.noise else not right)


@pytest.mark.parametrize("n", [1, 2, 3, 5, 8, 9, 16, 23])
@pytest.mark.parametrize("method", ["auto", "round_robin", "merge"])
def test_an_honest_referee_gives_the_true_order(n: int, method: str) -> None:
    worth = random.Random(n).sample(range(100), n)
    referee = Referee(worth)
    ranking = rank(n, referee, method)  # type: ignore[arg-type]
    assert ranking.order == sorted(range(n), key=lambda i: -worth[i])
    assert ranking.comparisons == len(referee.asked) == len({frozenset(p) for p in referee.asked})
    assert ranking.points is None or math.isclose(sum(ranking.points), ranking.comparisons)


@pytest.mark.parametrize("n", [2, 4, 8, 16, 32])
def test_swiss_finds_the_best_and_nobody_meets_twice(n: int) -> None:
    worth = random.Random(n).sample(range(1000), n)
    referee = Referee(worth)
    ranking = rank(n, referee, "swiss")
    assert ranking.order[0] == max(range(n), key=lambda i: worth[i])
    assert sorted(ranking.order) == list(range(n))
    assert len({frozenset(p) for p in referee.asked}) == len(referee.asked) <= n / 2 * (math.log2(n) + 1)


def test_costs() -> None:
    """What the docstring promises."""
    for n in (4, 8, 16, 40):
        worth = random.Random(n).sample(range(1000), n)
        assert rank(n, Referee(worth), "round_robin").comparisons == n * (n - 1) // 2
        merge = Referee(worth)
        assert rank(n, merge, "merge").comparisons <= n * math.log2(n)
        assert merge.rounds < len(merge.asked), "merges of one level share their rounds"
    assert rank(8, Referee(range(8))).method == "round_robin" and rank(9, Referee(range(9))).method == "merge"


@pytest.mark.parametrize("method", ["round_robin", "swiss", "merge"])
def test_ties_keep_the_given_order_and_share_a_rank(method: str) -> None:
    found = rank(6, Referee([1] * 6), method)  # type: ignore[arg-type]
    assert found.order == list(range(6)) and found.ranks == [1] * 6 and found.undecided == found.comparisons
    assert knockout(6, Referee([1] * 6)) == (0, 5)


@pytest.mark.parametrize("method", ["round_robin", "merge"])
@pytest.mark.parametrize("seed", range(20))
def test_ranks_are_those_of_the_true_worth(method: str, seed: int) -> None:
    """Competition ranks, against scipy's, of items some of which are as good as others."""
    rng = random.Random(seed)
    worth = [rng.randrange(5) for _ in range(rng.randrange(2, 14))]
    found = rank(len(worth), Referee(worth), method)  # type: ignore[arg-type]
    assert found.ranks == rankdata([-w for w in worth], method="min").tolist()
    if found.points is not None:
        assert found.ranks == rankdata([-p for p in found.points], method="min").tolist()
    assert [found.ranks[i] for i in found.order] == sorted(found.ranks)


def test_undecided_comparisons_are_counted() -> None:
    found = rank(4, lambda pairs: [None if 0 in pair else 0.5 if 3 in pair else 1.0 for pair in pairs])
    assert (found.comparisons, found.undecided, found.unread) == (6, 5, 3)


def test_what_cannot_be_read_is_counted_and_no_order_stands_on_it() -> None:
    for method in ("round_robin", "swiss", "merge"):
        with pytest.raises(InputError, match=r"none of \d+ comparisons could be read"):
            rank(6, lambda pairs: [None] * len(pairs), method)  # type: ignore[arg-type]
        assert rank(1, lambda pairs: [None] * len(pairs), method).order == [0]  # type: ignore[arg-type]
    with pytest.raises(InputError, match="none of 5 comparisons could be read"):
        knockout(6, lambda pairs: [None] * len(pairs))
    found = rank(4, lambda pairs: [None if 0 in pair else float(pair[0] > pair[1]) for pair in pairs])
    assert (found.order, found.unread, found.comparisons) == ([3, 0, 2, 1], 3, 6)


def test_knock_out() -> None:
    for n in range(1, 20):
        worth = random.Random(n).sample(range(100), n)
        assert knockout(n, Referee(worth)) == (max(range(n), key=lambda i: worth[i]), n - 1)


def test_round_robin_is_steadier_than_merge_under_noise() -> None:
    def inversions(order: list[int]) -> int:
        return sum(order[i] > order[j] for i in range(len(order)) for j in range(i + 1, len(order)))

    found = {m: 0 for m in ("round_robin", "merge")}
    for seed in range(60):
        for method in found:
            found[method] += inversions(rank(8, Referee(range(8, 0, -1), 0.2, seed), method).order)  # type: ignore[arg-type]
    assert found["round_robin"] < found["merge"]


def test_wrong_questions() -> None:
    with pytest.raises(InputError, match="nothing to rank"):
        rank(0, Referee([]))
    with pytest.raises(InputError, match="nothing to choose from"):
        knockout(0, Referee([]))
    with pytest.raises(InputError, match="unknown ranking method 'elo'"):
        rank(2, Referee([1, 2]), "elo")  # type: ignore[arg-type]
