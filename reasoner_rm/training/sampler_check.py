"""Whether the rollout engine sampled with the policy's current weights: its log-probabilities against the trainer's.

Both are of the same tokens, at the same temperature, with the same tokens banned, so they are equal up to rounding.
Stale weights or another precision show as a difference, which would enter the probability ratio unnoticed.
"""

from __future__ import annotations

import math

from reasoner_rm.errors import InputError


def check_agreement(gap: float | None, limit: float) -> None:
    """Check the first update of a rollout batch. The run stops before anything is saved (DeepSpeed has already stepped,
    in its last backward pass).

    Args:
        gap: the mean absolute difference over the tokens of the batch; None: the engine reports no log-probabilities.

    Raises:
        InputError: it is beyond the limit or NaN, or there is none to compare with a limit.
    """
    if gap is None:
        if limit < math.inf:
            raise InputError(
                "the engine reports no log-probabilities, so that nothing shows that it samples from the policy",
                remedy="set engine.max_logprob_gap: .inf to train all the same, or another engine",
            )
        return
    if not gap <= limit:
        raise InputError(
            f"the engine's log-probabilities are {gap:.3g} nats from the trainer's in the mean "
            f"(engine.max_logprob_gap: "
            f"{limit:g}), so it answers with other weights than the policy's, or in another precision",
            remedy="set engine.dtype to the policy's, or engine.name: transformers; if it is rounding, raise the limit",
        )
