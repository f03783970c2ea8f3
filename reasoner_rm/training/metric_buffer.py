"""Values of a step, kept until it is logged, and pooled over all processes then."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence

from reasoner_rm import distributed


class MetricBuffer(dict[str, list[float]]):
    """By name; `__` in a name becomes `/`."""

    def add(self, **values: float) -> None:
        """Keep one more value of each."""
        for name, value in values.items():
            self.setdefault(name.replace("__", "/"), []).append(float(value))

    def gathered(self, name: str) -> list[float]:
        """The values of one name, of all processes. Every process has to ask."""
        return [value for some in distributed.all_gather(self.get(name, [])) for value in some]

    def pooled(self) -> dict[str, float]:
        """The means over all processes, and of names that end in `_max` the greatest value; the buffer is empty then.
        Every process has to ask."""
        means = pooled_by_name(distributed.all_gather(dict(self)))
        self.clear()
        return means


def pooled_by_name(gathered: Sequence[dict[str, list[float]]]) -> dict[str, float]:
    """The mean of everything that any process kept under a name, or the greatest for names in `_max`."""
    every: dict[str, list[float]] = defaultdict(list)
    for values in gathered:
        for name, some in values.items():
            every[name] += some
    return {n: max(some) if n.endswith("_max") else math.fsum(some) / len(some) for n, some in every.items() if some}
