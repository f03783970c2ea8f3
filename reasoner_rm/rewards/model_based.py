"""Rewards from other models: a judge, a yes-or-no model, an entailment model, passed in by name as scorers.

A scorer is called as ``scorer(sample, texts, …)`` with the readable answers of a group and returns one score per text;
it may be a coroutine function. An unreadable answer is not sent to it and gets the least value.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence
from typing import Any

from reasoner_rm.config import NonNegative
from reasoner_rm.errors import InputError
from reasoner_rm.rewards.aggregate import shrink_by_spread
from reasoner_rm.rewards.base import Reward, Values
from reasoner_rm.rewards.returned import as_numbers, shown
from reasoner_rm.schema import Group, ParsedCompletion, RewardContext, Sample


async def _judged(
    group: Group,
    parsed: Sequence[ParsedCompletion],
    context: RewardContext,
    *,
    facts: str | None = None,
    uncertainty: NonNegative = 0.0,
) -> Values:
    """A judge's score of the answer; the mean of its votes where it gives several.

    Scorer ``judge(sample, answers, facts)``: a number 0..1 for each, several, or None.

    Source: a judge of this project as the reward of another policy. With ``facts`` it is Fact-RLHF's (LLaVA-RLHF, arXiv
    2309.14525): the judge sees captions or answers that the policy does not.
    Formula: mean of the votes.
    Example: votes 1, 1, 0: 0.6667.
    Range: 0..1.

    Args:
        facts: the field of ``meta`` that only the judge sees.
        uncertainty: the spread of votes at which 1/e of a value's distance from the group's mean is left; 0: no
            shrinking.
    """
    judge_facts = None if facts is None else group.sample.meta.get(facts)
    scores = await _scores("judge", group, parsed, context, judge_facts)
    votes = [[s] if isinstance(s, float) else s for s in scores]
    values: Values = [None if not v else min(1.0, max(0.0, math.fsum(v) / len(v))) for v in votes]
    values = [0.0 if p.answer is None else v for p, v in zip(parsed, values, strict=True)]
    return (
        shrink_by_spread(values, [max(v) - min(v) if v else None for v in votes], uncertainty)
        if uncertainty
        else values
    )


async def _yes_no(group: Group, parsed: Sequence[ParsedCompletion], context: RewardContext) -> Values:
    """The probability of "yes" against "no" as a reward model's next token.

    Scorer ``yes_no(sample, answers)``: the two logits for each, or None.

    Source: UI-Genie (arXiv 2505.21496), whose reward model answers with one of two tokens.
    Formula: exp(yes) / (exp(yes) + exp(no)).
    Example: logits 2 and 0: 0.8808.
    Range: 0..1.
    """
    logits = await _scores("yes_no", group, parsed, context)
    probs = [None if z is None else 1 / (1 + math.exp(min(700.0, max(-700.0, z[1] - z[0])))) for z in logits]
    return [0.0 if p.answer is None else value for p, value in zip(parsed, probs, strict=True)]


async def _fidelity(group: Group, parsed: Sequence[ParsedCompletion], context: RewardContext) -> Values:
    """The probability that the reference captions entail the answer, less that they contradict it.

    Scorer ``nli(sample, answers, references)``: for each a list, one (entails, neutral, contradicts) per reference.
    References are ``gold.references``.

    Source: MOCHa (arXiv 2312.03631), fidelity; the difference is this project's interpretation.
    Formula: mean over references of p(entails) - p(contradicts).
    Example: one reference, (0.7, 0.2, 0.1): 0.6.
    Range: -1..1.
    """
    return await _against_references(group, parsed, context, "nli", _entailed, -1.0)


async def _adequacy(group: Group, parsed: Sequence[ParsedCompletion], context: RewardContext) -> Values:
    """The greatest similarity of the answer to a reference caption.

    Scorer ``similarity(sample, answers, references)``: for each a list, one number 0..1 per reference.

    Source: MOCHa (arXiv 2312.03631), adequacy, by BERTScore; the preset ``mocha`` weights both by half.
    Formula: max over references of the similarity.
    Example: similarities 0.4 and 0.9: 0.9.
    Range: 0..1.
    """
    return await _against_references(group, parsed, context, "similarity", max, 0.0)


def _entailed(scores: Sequence[Sequence[float]]) -> float:
    return math.fsum(yes - no for yes, _, no in scores) / len(scores)


async def _against_references(
    group: Group, parsed: Sequence[ParsedCompletion], context: RewardContext, scorer: str, reduce: Any, least: float
) -> Values:
    references = group.sample.gold.get("references")
    if not references:
        return [None] * len(parsed)
    scores = await _scores(scorer, group, parsed, context, references)
    return [
        least if p.answer is None else None if not s else float(reduce(s)) for p, s in zip(parsed, scores, strict=True)
    ]


async def _scores(
    name: str, group: Group, parsed: Sequence[ParsedCompletion], context: RewardContext, *more: Any
) -> list[Any]:
    """A scorer's score of each readable answer; None for the others."""
    scores = iter(
        await call_scorer(name, group.sample, [p.answer for p in parsed if p.answer is not None], context, *more)
    )
    return [None if p.answer is None else next(scores) for p in parsed]


async def call_scorer(name: str, sample: Sample, texts: Sequence[str], context: RewardContext, *more: Any) -> list[Any]:
    """A scorer's score of each text, in plain floats; without texts it is not called.

    Raises:
        InputError: not one score per text, or a score that is neither None nor made of numbers.
    """
    if not texts:
        return []
    scores = context.scorers[name](sample, list(texts), *more)
    scores = await scores if inspect.isawaitable(scores) else scores
    try:
        found = [None if score is None else as_numbers(score) for score in scores]
        if len(found) != len(texts):
            raise ValueError(f"{len(found)} scores")
    except (ValueError, TypeError):
        what = f"scorer {name} returned {shown(scores)} for sample {sample.id!r}"
        raise InputError(what, remedy=f"return a score for each of the {len(texts)} texts: numbers, or None") from None
    return found


MODEL_BASED = (
    Reward("judged", (0.0, 1.0), _judged, required_scorers=("judge",)),
    Reward("yes_no", (0.0, 1.0), _yes_no, required_scorers=("yes_no",)),
    Reward("fidelity", (-1.0, 1.0), _fidelity, required_scorers=("nli",)),
    Reward("adequacy", (0.0, 1.0), _adequacy, required_scorers=("similarity",)),
)
