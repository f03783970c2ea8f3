"""Values that were read more than once and did not agree count for less."""

from __future__ import annotations

import math
from collections.abc import Sequence

from reasoner_rm.rewards.base import Values


def shrink_by_spread(values: Values, spreads: Sequence[float | None], scale: float) -> Values:
    """Each value drawn to the group's mean by how far its readings lie apart, so that doubt teaches little.

    Source: Ctrl-U (arXiv 2410.11236), which weighs a reward's loss by exp(-U), U the difference between two readings
    of the same condition. An advantage has no loss of its own to weigh, so its distance from the mean is weighed.
    Formula: mean + exp(-spread / scale) · (value - mean).

    Args:
        values: G of them; None stays None and takes no part in the mean.
        spreads: the difference between a value's readings; None: not known, the value stays as it is.
        scale: the spread that leaves 1/e of the distance.

    >>> shrink_by_spread([1.0, 0.0], [0.0, math.log(2)], 1.0)
    [1.0, 0.25]
    """
    known = [v for v in values if v is not None]
    if not known:
        return values
    mean = math.fsum(known) / len(known)
    return [
        v if v is None or spread is None else mean + math.exp(-spread / scale) * (v - mean)
        for v, spread in zip(values, spreads, strict=True)
    ]
