"""Rewards for single sentences, and what they mean for the tokens of a completion."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from reasoner_rm.rewards.base import Reward, RewardOutput
from reasoner_rm.rewards.model_based import call_scorer
from reasoner_rm.schema import Group, ParsedCompletion, RewardContext, SpanReward

_END = re.compile(r"[.!?](?=\s|$)|\n|$")
MAX_SENTENCES = 200


async def _sentences(group: Group, parsed: Sequence[ParsedCompletion], context: RewardContext) -> RewardOutput:
    """The share of the answer's sentences that are right, less the share that is wrong; each pays its own tokens.

    Scorer ``sentences(sample, sentences)``: 1 for a true sentence, -1 for a false one, 0 for one that claims nothing.
    In GRPO a sentence's value moves the advantage of its own tokens (see ``token_advantages``).

    Source: FGAIF (arXiv 2404.05046), whose models judge objects, attributes and relations sentence by sentence, and
    M-HalDetect (arXiv 2308.06394), whose labels are accurate, inaccurate, analysis.
    Formula: Σ value / #sentences.
    Example: 3 sentences, 1, 1, -1: 0.3333.
    Range: -1..1.
    """
    values: list[float] = []
    rows: list[list[SpanReward]] = []
    for completion, p in zip(group.completions, parsed, strict=True):
        found = [] if p.answer is None else sentences(completion.text, p.answer)
        said = [completion.text[start:end] for start, end in found]
        marks = await call_scorer("sentences", group.sample, said, context)
        rows.append([(start, end, mark) for (start, end), mark in zip(found, marks, strict=True)])
        values.append(-1.0 if not found else math.fsum(marks) / len(marks))
    return RewardOutput(values, spans=rows)


def sentences(text: str, answer: str) -> list[tuple[int, int]]:
    """Where the sentences of the answer stand in the text, (start, end) in characters, without space around them.

    >>> sentences("<think>So.</think><answer>A cat. It sleeps.</answer>", "A cat. It sleeps.")
    [(26, 32), (33, 43)]
    """
    at, stop = text.rfind(answer), text.rfind(answer) + len(answer)
    found: list[tuple[int, int]] = []
    while 0 <= at < stop and len(found) < MAX_SENTENCES:
        match = _END.search(text, at, stop)
        end = match.end() if match else stop
        start = at + len(text[at:end]) - len(text[at:end].lstrip())
        if start < end and text[start:end].strip():
            found.append((start, start + len(text[start:end].rstrip())))
        at = max(end, at + 1)
    return found


def token_advantages(
    advantages: Sequence[float],
    spans: Sequence[Sequence[SpanReward]],
    ends: Sequence[Sequence[int]],
    weight: float = 1.0,
    eps: float = 1e-4,
) -> tuple[tuple[float, ...], ...]:
    """Advantages by token: the completion's own, plus how much better its sentence is than the group's sentences.

    Formula: A_t = A + weight · (value - mean) / (std + eps) for a token that ends within a sentence, else A.

    Args:
        advantages: of the G completions.
        spans: their sentences, (start, end, value) in characters of the text.
        ends: where each token ends in the text.

    >>> token_advantages([0.0, 0.0], [[(0, 2, 1.0)], [(0, 2, -1.0)]], [[1, 2, 3], [2]], eps=0.0)
    ((0.7071067811865475, 0.7071067811865475, 0.0), (-0.7071067811865475,))
    """
    values = [value for row in spans for _, _, value in row]
    mean = math.fsum(values) / max(1, len(values))
    spread = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / max(1, len(values) - 1)) + eps
    out = []
    for advantage, row, stops in zip(advantages, spans, ends, strict=True):
        worth = (next(((v - mean) / spread for start, end, v in row if start < stop <= end), 0.0) for stop in stops)
        out.append(tuple(advantage + weight * w for w in worth))
    return tuple(out)


DENSE = (Reward("sentences", (-1.0, 1.0), _sentences, required_scorers=("sentences",)),)
