"""What a listener that read the reasoning believes: the reward that makes a reasoning persuade someone else."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from reasoner_rm.config import NonNegative, Positive
from reasoner_rm.rewards.base import Result, Reward, RewardOutput, Values
from reasoner_rm.rewards.uncertainty import shrink_by_spread
from reasoner_rm.schema import Belief, Group, ParsedCompletion, RewardContext
from reasoner_rm.tasks import get_task

Gate = Literal["none", "format", "accuracy"]


def _listener_belief(
    group: Group,
    parsed: Sequence[ParsedCompletion],
    context: RewardContext,
    *,
    target: Literal["gold", "verdict"] = "gold",
    hard: bool = False,
    gate: Gate = "format",
    temperature: Positive = 1.0,
    uncertainty: NonNegative = 0.0,
) -> Result:
    """How much a frozen listener believes the right option after reading the reasoning; 0 where the gate is shut.

    A text that the listener could not be asked about is None. Which sentences it reads, and in which orders, is the
    listener's own setting. Metrics: the options' mass, agreement, contradiction, accuracy by agreement.

    Source: Listener-Rewarded Thinking (arXiv 2506.22832); 1 format + 0.5 accuracy + 0.5 belief is the preset
    ``listener``. Everything but the soft belief in gold, gated by format, is an option of this project's.
    Formula: Σ over options of p_target · belief.
    Example: option logits (2, 0) and gold option 1: softmax gives 0.8808.
    Range: 0..1.

    Args:
        target: whose belief pays: the gold options', or the completion's own verdict's.
        hard: the listener's first choice counts as certain.
        gate: what a completion must be, besides readable, to earn anything: well formed, or right.
        temperature: of the belief; above 1 softens it.
        uncertainty: the spread between both orders at which a value has 1/e of its distance from the group's mean
            left (see ``shrink_by_spread``); 0: spread does not matter.
    """
    gold = get_task(group.sample.task).gold_probs(group.sample)
    if context.beliefs is None or (gold is None and target == "gold"):
        return [None] * len(parsed)
    values: list[float | None] = []
    for p, belief, closed in zip(parsed, context.beliefs, _shut(group, parsed, gate), strict=True):
        choice = None if p.answer is None else get_task(group.sample.task).option_index(p.answer, group.sample)
        if closed or choice is None:
            values.append(0.0)
        elif belief is None:
            values.append(None)
        else:
            probs = apply_temperature(belief.probs, temperature)
            heard = [float(i == first(probs)) for i in range(len(probs))] if hard else probs
            wanted = gold if target == "gold" else [float(i == choice) for i in range(len(probs))]
            values.append(min(1.0, sum(w * h for w, h in zip(wanted or (), heard, strict=True))))
    spreads = [None if belief is None else belief.order_gap for belief in context.beliefs]
    shrunk = shrink_by_spread(values, spreads, uncertainty) if uncertainty else values
    return RewardOutput(shrunk, metrics=_metrics(group, parsed, context.beliefs))


def _consistency(
    group: Group,
    parsed: Sequence[ParsedCompletion],
    context: RewardContext,
    *,
    gate: Gate = "accuracy",
    hard: bool = True,
) -> Result:
    """1 if the listener, after reading the reasoning, comes to the completion's own verdict; 0 where the gate is shut.

    Source: R1-Reward (arXiv 2505.02835), whose referee reads the text and says whether it is consistent; here the
    listener does. Its total, 0.5·format + accuracy·(1 + 0.5·consistency), is the preset ``r1_reward``: consistency
    gated by accuracy is their product.
    Formula: 1[argmax belief = verdict] · accuracy; ``hard`` off: belief(verdict) · accuracy.
    Example: verdict 1, right, belief (0.9, 0.1): 1; verdict 2, belief (0.9, 0.1): 0.
    Range: 0..1.
    """
    return _listener_belief(group, parsed, context, target="verdict", hard=hard, gate=gate)


def _shut(group: Group, parsed: Sequence[ParsedCompletion], gate: Gate) -> list[bool]:
    task, sample = get_task(group.sample.task), group.sample
    if gate == "accuracy":
        return [p.answer is None or not task.grade(p.answer, sample) for p in parsed]
    return [gate == "format" and not p.well_formed for p in parsed]


def apply_temperature(probs: Sequence[float], temperature: float) -> list[float]:
    """The probabilities of logits divided by a temperature.

    >>> [round(p, 3) for p in apply_temperature((0.9, 0.1), 2.0)]
    [0.75, 0.25]
    """
    if temperature == 1.0:
        return [*probs]
    logits = [math.log(max(p, 1e-300)) / temperature for p in probs]
    powers = [math.exp(logit - max(logits)) for logit in logits]
    return [power / sum(powers) for power in powers]


def first(probs: Sequence[float]) -> int:
    return max(range(len(probs)), key=lambda i: probs[i])


def _metrics(group: Group, parsed: Sequence[ParsedCompletion], beliefs: Sequence[Belief | None]) -> dict[str, Values]:
    """What the listener's paper looks at; None where there is no verdict, no belief, or no truth."""
    task, sample = get_task(group.sample.task), group.sample
    agree: list[float | None] = []
    for p, belief in zip(parsed, beliefs, strict=True):
        choice = None if p.answer is None else task.option_index(p.answer, sample)
        agree.append(None if choice is None or belief is None else float(first(belief.probs) == choice))
    right = [None if p.answer is None else task.grade(p.answer, sample) for p in parsed]

    def accuracy_where(wanted: float) -> Values:
        return [r if a == wanted else None for r, a in zip(right, agree, strict=True)]

    return {
        "listener/option_mass": [None if b is None else b.option_mass for b in beliefs],
        "listener/agreement": agree,
        "listener/contradiction": [None if a is None else 1 - a for a in agree],
        "listener/accuracy_agreeing": accuracy_where(1.0),
        "listener/accuracy_contradicted": accuracy_where(0.0),
    }


LISTENER = (
    Reward("listener_belief", (0.0, 1.0), _listener_belief, needs_listener=True),
    Reward("consistency", (0.0, 1.0), _consistency, needs_listener=True),
)
