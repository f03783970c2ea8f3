"""A reward: short reasonings earn more."""

from collections.abc import Sequence

from reasoner_rm.rewards.base import RewardOutput
from reasoner_rm.schema import Group, ParsedCompletion, RewardContext


def brevity(
    group: Group, parsed: Sequence[ParsedCompletion], context: RewardContext, *, most: int = 60
) -> RewardOutput:
    """1 for a reasoning of no words, falling to 0 at ``most`` words; 0 without a readable answer.

    Formula: max(0, 1 - words / most).
    Range: 0..1.
    """
    words = [len((p.thinking or "").split()) for p in parsed]
    values = [0.0 if p.answer is None else max(0.0, 1 - n / most) for p, n in zip(parsed, words, strict=True)]
    return RewardOutput(values, metrics={"brevity/words": words})


brevity.range = (0.0, 1.0)
