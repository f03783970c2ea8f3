"""Listener rewards: the belief of a frozen model that has read the reasoning, and its agreement with the verdict."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from reasoner_rm.config import NonNegative, Positive
from reasoner_rm.rewards.aggregate import shrink_by_spread
from reasoner_rm.rewards.base import Result, Reward, RewardOutput, Values
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
    """A frozen listener's probability of the gold option after reading the reasoning; 0 where the gate is not passed.

    A text without a belief is None. The sentences that the listener reads and the orders it is asked in are settings of
    the listener. Metrics: option mass, agreement, contradiction, accuracy by agreement.

    Source: Listener-Rewarded Thinking (arXiv 2506.22832); 1 format + 0.5 accuracy + 0.5 belief is the preset
    ``listener``. The paper's reward is the soft belief in gold gated by format; the other options are this project's.
    Formula: Σ over options of p_target · belief.
    Example: option logits (2, 0) and gold option 1: softmax gives 0.8808.
    Range: 0..1.

    Args:
        target: the option whose probability is the reward: gold, or the completion's own verdict.
        hard: the listener's most probable option counts as probability 1.
        gate: the condition for a reward other than 0, besides a readable answer: well formed, or right.
        temperature: of the belief; above 1 softens it.
        uncertainty: the gap between both orders at which 1/e of a value's distance from the group's mean is left
            (see ``shrink_by_spread``); 0: no shrinking.
    """
    gold = get_task(group.sample.task).gold_probs(group.sample)
    if context.beliefs is None or (gold is None and target == "gold"):
        return [None] * len(parsed)
    values: list[float | None] = []
    for p, belief, blocked in zip(parsed, context.beliefs, _blocked(group, parsed, gate), strict=True):
        choice = None if p.answer is None else get_task(group.sample.task).option_index(p.answer, group.sample)
        if blocked or choice is None:
            values.append(0.0)
        elif belief is None:
            values.append(None)
        else:
            probs = apply_temperature(belief.probs, temperature)
            believed = [float(i == argmax(probs)) for i in range(len(probs))] if hard else probs
            target_probs = gold if target == "gold" else [float(i == choice) for i in range(len(probs))]
            values.append(min(1.0, sum(t * b for t, b in zip(target_probs or (), believed, strict=True))))
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
    """1 if the listener, after reading the reasoning, agrees with the verdict; 0 where the gate is not passed.

    Source: R1-Reward (arXiv 2505.02835), where a model judges whether the text is consistent; here the listener's
    belief does. Its total, 0.5·format + accuracy·(1 + 0.5·consistency), is the preset ``r1_reward``: consistency
    gated by accuracy is their product.
    Formula: 1[argmax belief = verdict] · accuracy; ``hard`` off: belief(verdict) · accuracy.
    Example: verdict 1, right, belief (0.9, 0.1): 1; verdict 2, belief (0.9, 0.1): 0.
    Range: 0..1.
    """
    return _listener_belief(group, parsed, context, target="verdict", hard=hard, gate=gate)


def _blocked(group: Group, parsed: Sequence[ParsedCompletion], gate: Gate) -> list[bool]:
    if gate == "accuracy":
        return [not grade for grade in get_task(group.sample.task).grades(parsed, group.sample)]
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


def argmax(probs: Sequence[float]) -> int:
    return max(range(len(probs)), key=lambda i: probs[i])


def _metrics(group: Group, parsed: Sequence[ParsedCompletion], beliefs: Sequence[Belief | None]) -> dict[str, Values]:
    """The metrics of the listener's paper; None without a verdict, a belief, or gold."""
    task, sample = get_task(group.sample.task), group.sample
    agree: list[float | None] = []
    for p, belief in zip(parsed, beliefs, strict=True):
        choice = None if p.answer is None else task.option_index(p.answer, sample)
        agree.append(None if choice is None or belief is None else float(argmax(belief.probs) == choice))
    correct = task.grades(parsed, sample)

    def accuracy_where(agreement: float) -> Values:
        return [c if a == agreement else None for c, a in zip(correct, agree, strict=True)]

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
