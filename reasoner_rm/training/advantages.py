"""From the rewards of one group to the advantages of its completions."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Literal


def group_advantages(
    totals: Sequence[float], scale: Literal["group", "none"] = "group", eps: float = 1e-4
) -> tuple[float, ...]:
    """How much better than its group each completion did: ``(r - mean) / (std + eps)``, std with ddof=1.

    A group of one, or one whose rewards are all equal, has advantages of exactly zero.

    Args:
        totals: the G rewards of one prompt.
        scale: ``group`` divides by the group's standard deviation, ``none`` only subtracts the mean (Dr. GRPO).

    >>> [round(a, 3) for a in group_advantages([2, 2, 1, 0])]
    [0.783, 0.783, -0.261, -1.305]
    >>> group_advantages([2, 2, 1, 0], scale="none")
    (0.75, 0.75, -0.25, -1.25)
    >>> group_advantages([0.1, 0.1, 0.1])
    (0.0, 0.0, 0.0)
    """
    if len(set(totals)) < 2:
        return (0.0,) * len(totals)
    mean = statistics.fmean(totals)
    spread = statistics.stdev(totals) + eps if scale == "group" else 1.0
    return tuple((total - mean) / spread for total in totals)
