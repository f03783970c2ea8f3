"""The listener's belief in the truth: the reward that makes a reasoning persuade someone else."""

from __future__ import annotations

from collections.abc import Sequence

from reasoner_rm.rewards.base import Reward, Values
from reasoner_rm.schema import Group, Parsed, RewardContext
from reasoner_rm.tasks import get_task


def _listener_belief(group: Group, parsed: Sequence[Parsed], context: RewardContext) -> Values:
    """Σ over options of p_gold · belief: the probability that a frozen listener gives the right option after reading
    the reasoning. A text that is not well formed earns 0; one that the listener could not be asked about is None.

    Source: Listener-Rewarded Thinking (arXiv 2506.22832); its weights are 1 format + 0.5 accuracy + 0.5 belief.
    Example: option logits (2, 0) and gold option 1: softmax gives 0.8808.
    """
    gold = get_task(group.sample.task).gold_probs(group.sample)
    if gold is None or context.beliefs is None:
        return [None] * len(parsed)
    values: Values = []
    for p, belief in zip(parsed, context.beliefs, strict=True):
        if not p.well_formed:
            values.append(0.0)
        elif belief is None:
            values.append(None)
        else:
            values.append(sum(g * b for g, b in zip(gold, belief.probs, strict=True)))
    return values


LISTENER_BELIEF = Reward("listener_belief", (0.0, 1.0), _listener_belief, needs_listener=True)
