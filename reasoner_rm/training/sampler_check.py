"""Whether the engine that rolled out answered for the policy: its log-probabilities against the trainer's own.

Both are of the same tokens, at the same temperature, with the same tokens banned, so they are equal up to rounding.
Weights that were not handed over, or another precision, show as a difference, and GRPO would take it for progress.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from reasoner_rm.errors import InputError


def check_agreement(gaps: Sequence[float], limit: float) -> None:
    """Judge by the mean absolute differences of what was just rolled out, before anything is learnt from it.

    Raises:
        InputError: their mean is beyond the limit, or no number.
    """
    mean = math.fsum(gaps) / len(gaps)
    if not mean <= limit:
        raise InputError(
            f"the engine's log-probabilities are {mean:.3g} nats from the trainer's in the mean "
            f"(engine.max_logprob_gap: "
            f"{limit:g}), so it answers with other weights than the policy's, or in another precision",
            remedy="set engine.dtype to the policy's, or engine.name: transformers; if it is rounding, raise the limit",
        )
