"""Two judges on the same items: paired differences with bootstrap intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from reasoner_rm.errors import InputError
from reasoner_rm.evaluation.intervals import Resampler, mean
from reasoner_rm.evaluation.result_dir import ResultDir
from reasoner_rm.evaluation.runner import score_votes
from reasoner_rm.evaluation.subgroups import by_facet
from reasoner_rm.schema import Sample


@dataclass(frozen=True, slots=True)
class Difference:
    """``a`` and ``b`` over the ``n`` items that count for both; ``difference`` is b - a with its 95 % interval.

    only_a, only_b: items that one has more right than the other.
    """

    a: float
    b: float
    difference: float
    interval: tuple[float, float]
    n: int
    only_a: int
    only_b: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """Of two result folders; ``left_out``: items that do not count for both."""

    names: tuple[str, str]
    benchmark: str
    protocol: str
    overall: Difference
    groups: Mapping[str, Mapping[str, Difference]]
    left_out: int

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    def lines(self) -> list[str]:
        """For a terminal."""
        rows = [f"{self.benchmark}, {self.protocol}: A is {self.names[0]}, B is {self.names[1]}"]
        rows += [f"{'':24} {'A':>7} {'B':>7} {'B - A':>8}   95 % interval        n  A alone  B alone"]
        rows += [_line("all", self.overall)]
        rows += [_line(f"{facet}: {k}", d) for facet, kinds in self.groups.items() for k, d in kinds.items()]
        if self.left_out:
            rows.append(f"{self.left_out} items do not count for both")
        return rows


def _line(name: str, d: Difference) -> str:
    low, high = d.interval
    return (
        f"{name:24.24} {d.a:7.1%} {d.b:7.1%} {d.difference:+8.1%}   [{low:+.1%}, {high:+.1%}] {d.n:8} "
        f"{d.only_a:8} {d.only_b:8}"
    )


def compare(
    a: str | Path,
    b: str | Path,
    *,
    protocol: str | None = None,
    options: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> Comparison:
    """Paired differences of the scores of two result folders.

    Args:
        protocol, options: score the stored votes of both under this protocol; without any, the scores of the
            evaluations themselves are compared.
        seed: of the bootstrap.

    Raises:
        InputError: results of other benchmarks, other protocols, or without a common item that counts.
    """
    folders = ResultDir(a), ResultDir(b)
    if protocol is None and not options:
        one, two = (folder.scores() for folder in folders)
    else:
        one, two = (score_votes(folder, protocol, **(options or {}))[1] for folder in folders)
    for what, left, right in (
        ("benchmark", one["benchmark"]["name"], two["benchmark"]["name"]),
        ("protocol", one["protocol"]["name"], two["protocol"]["name"]),
    ):
        if left != right:
            remedy = "evaluate both on one" if what == "benchmark" else "name one for both with --protocol"
            raise InputError(f"A and B are of another {what}: {left} and {right}", remedy=remedy)
    samples = [s for s in folders[0].items() if s.id in one["item_scores"] or s.id in two["item_scores"]]
    both = [s for s in samples if one["item_scores"].get(s.id) is not None and two["item_scores"].get(s.id) is not None]
    if not both:
        raise InputError("no item counts for both A and B", remedy="evaluate both on the same items")
    scores = np.array([(one["item_scores"][s.id], two["item_scores"][s.id]) for s in both])
    kinds = by_facet(list(range(len(both))), both)
    groups = {
        facet: {kind: _difference(scores[rows], [both[i] for i in rows], seed) for kind, rows in parts.items()}
        for facet, parts in kinds.items()
    }
    names = (_name(one, a), _name(two, b))
    whole = _difference(scores, both, seed)
    left_out = len({*one["item_scores"], *two["item_scores"]}) - len(both)
    return Comparison(names, one["benchmark"]["name"], one["protocol"]["name"], whole, groups, left_out)


def _difference(scores: np.ndarray, samples: Sequence[Sample], seed: int) -> Difference:
    apart = scores[:, 1] - scores[:, 0]
    columns = np.stack([apart, np.ones(len(apart))], axis=1)
    interval = Resampler([s.group_id for s in samples], seed).interval(columns, mean)
    assert interval is not None
    first, second = scores.mean(0)
    return Difference(
        round(float(first), 4), round(float(second), 4), round(float(apart.mean()), 4), interval, len(apart),
        int((apart < 0).sum()), int((apart > 0).sum()),
    )  # fmt: skip


def _name(scores: Mapping[str, Any], folder: str | Path) -> str:
    return str(scores.get("judge", {}).get("model") or folder)
