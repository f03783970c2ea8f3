"""Values of a step, kept until it is logged, and pooled over all processes then."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from reasoner_rm import distributed

Weighted: TypeAlias = tuple[float, float]
"""A value and its weight in the mean."""


class MetricBuffer(dict[str, list[Weighted]]):
    """By name; `__` in a name becomes `/`."""

    def add(self, weight: float = 1.0, /, **values: float) -> None:
        """Add one more value of each.

        Args:
            weight: of the values in their means, such as the number of tokens that they are means over.
        """
        for name, value in values.items():
            self.setdefault(name.replace("__", "/"), []).append((float(value), weight))

    def mean(self, name: str) -> float | None:
        """The mean of one name's values; None without any. Collective: call it on every process."""
        return pooled_by_name(distributed.all_gather({name: self.get(name, [])})).get(name)

    def pooled(self) -> dict[str, float]:
        """The means over all processes, and of names that end in `_max` the greatest value; the buffer is empty then.
        Collective: call it on every process."""
        means = pooled_by_name(distributed.all_gather(dict(self)))
        self.clear()
        return means


def pooled_by_name(gathered: Sequence[Mapping[str, Sequence[Weighted]]]) -> dict[str, float]:
    """The weighted mean of the values of a name over all processes; of names in `_max` the greatest value."""
    every: dict[str, list[Weighted]] = defaultdict(list)
    for values in gathered:
        for name, some in values.items():
            every[name] += some
    return {name: _pooled(name, values) for name, values in every.items() if values}


def _pooled(name: str, values: Sequence[Weighted]) -> float:
    if name.endswith("_max"):
        return max(value for value, _ in values)
    total = math.fsum(weight for _, weight in values)
    return math.fsum(value * weight for value, weight in values) / total
