"""Rewards that ask someone: a judge, a yes-or-no model, an entailment model. They are handed down by name.

A scorer is called as ``scorer(sample, texts, …)`` with the readable answers of a group and returns a reading per text,
at once or awaited. What could not be read is not shown to it and earns the least.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence
from typing import Any

from reasoner_rm.config import NonNegative
from reasoner_rm.rewards.base import Reward, Values
from reasoner_rm.rewards.uncertainty import shrink_by_spread
from reasoner_rm.schema import Group, ParsedCompletion, RewardContext, Sample


async def _judged(
    group: Group,
    parsed: Sequence[ParsedCompletion],
    context: RewardContext,
    *,
    facts: str | None = None,
    uncertainty: NonNegative = 0.0,
) -> Values:
    """What a judge thinks of the answer; the mean of its votes where it gives several.

    Scorer ``judge(sample, answers, facts)``: a number 0..1 for each, several, or None.

    Source: a judge of this project as the reward of another policy. With ``facts`` it is Fact-RLHF's (LLaVA-RLHF, arXiv
    2309.14525): the judge sees captions or answers that the policy does not, and is harder to fool.
    Formula: mean of the votes.
    Example: votes 1, 1, 0: 0.6667.
    Range: 0..1.

    Args:
        facts: the field of ``meta`` that holds what only the judge may know.
        uncertainty: the spread between votes that leaves 1/e of a value's distance from the group's mean; 0: none.
    """
    known = None if facts is None else group.sample.meta.get(facts)
    readings = await _asked("judge", group, parsed, context, known)
    votes = [[r] if isinstance(r, (int, float)) else r for r in readings]
    values: Values = [None if not v else min(1.0, max(0.0, math.fsum(v) / len(v))) for v in votes]
    values = [0.0 if p.answer is None else v for p, v in zip(parsed, values, strict=True)]
    return (
        shrink_by_spread(values, [max(v) - min(v) if v else None for v in votes], uncertainty)
        if uncertainty
        else values
    )


async def _yes_no(group: Group, parsed: Sequence[ParsedCompletion], context: RewardContext) -> Values:
    """The probability of "yes" beside "no" as a reward model's next token.

    Scorer ``yes_no(sample, answers)``: the two logits for each, or None.

    Source: UI-Genie (arXiv 2505.21496), whose reward model answers with one of two tokens.
    Formula: exp(yes) / (exp(yes) + exp(no)).
    Example: logits 2 and 0: 0.8808.
    Range: 0..1.
    """
    readings = await _asked("yes_no", group, parsed, context)
    odds = [None if r is None else 1 / (1 + math.exp(min(700.0, max(-700.0, r[1] - r[0])))) for r in readings]
    return [0.0 if p.answer is None else value for p, value in zip(parsed, odds, strict=True)]


async def _fidelity(group: Group, parsed: Sequence[ParsedCompletion], context: RewardContext) -> Values:
    """How far the reference captions entail the answer, less how far they contradict it.

    Scorer ``nli(sample, answers, references)``: for each a list, one (entails, neutral, contradicts) per reference.
    References are ``gold.references``.

    Source: MOCHa (arXiv 2312.03631), fidelity; the difference is this project's reading of it.
    Formula: mean over references of p(entails) - p(contradicts).
    Example: one reference, (0.7, 0.2, 0.1): 0.6.
    Range: -1..1.
    """
    return await _against_references(group, parsed, context, "nli", _entailed, -1.0)


async def _adequacy(group: Group, parsed: Sequence[ParsedCompletion], context: RewardContext) -> Values:
    """How much of a reference caption the answer says: the best of its similarities.

    Scorer ``similarity(sample, answers, references)``: for each a list, one number 0..1 per reference.

    Source: MOCHa (arXiv 2312.03631), adequacy, by BERTScore; the preset ``mocha`` weighs both by half.
    Formula: max over references of the similarity.
    Example: similarities 0.4 and 0.9: 0.9.
    Range: 0..1.
    """
    return await _against_references(group, parsed, context, "similarity", max, 0.0)


def _entailed(readings: Sequence[Sequence[float]]) -> float:
    return math.fsum(yes - no for yes, _, no in readings) / len(readings)


async def _against_references(
    group: Group, parsed: Sequence[ParsedCompletion], context: RewardContext, scorer: str, worth: Any, least: float
) -> Values:
    references = group.sample.gold.get("references")
    if not references:
        return [None] * len(parsed)
    readings = await _asked(scorer, group, parsed, context, references)
    return [
        least if p.answer is None else None if not r else float(worth(r)) for p, r in zip(parsed, readings, strict=True)
    ]


async def _asked(
    name: str, group: Group, parsed: Sequence[ParsedCompletion], context: RewardContext, *more: Any
) -> list[Any]:
    """A scorer's reading of each readable answer; None for the others."""
    found = iter(
        await call_scorer(name, group.sample, [p.answer for p in parsed if p.answer is not None], context, *more)
    )
    return [None if p.answer is None else next(found) for p in parsed]


async def call_scorer(name: str, sample: Sample, texts: Sequence[str], context: RewardContext, *more: Any) -> list[Any]:
    """A scorer's reading of each text; it is not bothered with none."""
    if not texts:
        return []
    found = context.scorers[name](sample, list(texts), *more)
    return list(await found if inspect.isawaitable(found) else found)


JUDGED = (
    Reward("judged", (0.0, 1.0), _judged, required_scorers=("judge",)),
    Reward("yes_no", (0.0, 1.0), _yes_no, required_scorers=("yes_no",)),
    Reward("fidelity", (-1.0, 1.0), _fidelity, required_scorers=("nli",)),
    Reward("adequacy", (0.0, 1.0), _adequacy, required_scorers=("similarity",)),
)
