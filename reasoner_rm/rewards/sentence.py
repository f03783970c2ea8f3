"""Sentence-level rewards, and the token-level advantages that follow from them."""

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
    """The share of the answer's sentences that are right, less the share that are wrong; each also rewards its tokens.

    Scorer ``sentences(sample, sentences)``: 1 for a true sentence, -1 for a false one, 0 for one without a claim,
    None for one that it could not judge.
    In GRPO a sentence's value is added to the advantages of its tokens (see ``token_advantages``).

    Source: FGAIF (arXiv 2404.05046), whose models judge objects, attributes and relations sentence by sentence, and
    M-HalDetect (arXiv 2308.06394), whose labels are accurate, inaccurate, analysis.
    Formula: Σ value / #sentences.
    Example: 3 sentences, 1, 1, -1: 0.3333.
    Range: -1..1.
    """
    values: list[float | None] = []
    rows: list[list[SpanReward]] = []
    for completion, p in zip(group.completions, parsed, strict=True):
        spans = [] if p.answer is None else sentences(completion.text, p.answer)
        texts = [completion.text[start:end] for start, end in spans]
        scores = await call_scorer("sentences", group.sample, texts, context)
        row = [(*span, score) for span, score in zip(spans, scores, strict=True) if score is not None]
        rows.append(row)
        values.append(-1.0 if not spans else math.fsum(score for *_, score in row) / len(row) if row else None)
    return RewardOutput(values, spans=rows)


def sentences(text: str, answer: str) -> list[tuple[int, int]]:
    """The spans of the answer's sentences in the text, (start, end) in characters, without surrounding white space.

    >>> sentences("<think>So.</think><answer>A cat. It sleeps.</answer>", "A cat. It sleeps.")
    [(26, 32), (33, 43)]
    """
    at, stop = text.rfind(answer), text.rfind(answer) + len(answer)
    spans: list[tuple[int, int]] = []
    while 0 <= at < stop and len(spans) < MAX_SENTENCES:
        match = _END.search(text, at, stop)
        end = match.end() if match else stop
        start = at + len(text[at:end]) - len(text[at:end].lstrip())
        if start < end and text[start:end].strip():
            spans.append((start, start + len(text[start:end].rstrip())))
        at = max(end, at + 1)
    return spans


def token_advantages(
    advantages: Sequence[float],
    spans: Sequence[Sequence[SpanReward]],
    ends: Sequence[Sequence[int]],
    weight: float = 1.0,
    eps: float = 1e-4,
) -> tuple[tuple[float, ...], ...]:
    """Token-level advantages: the completion's, plus its sentence's value normalised over the group's sentences.

    Formula: A_t = A + weight · (value - mean) / (std + eps) for a token that ends within a sentence, else A.

    Args:
        advantages: [G]
        spans: [G] lists of sentences, (start, end, value) in characters of the text.
        ends: [G] lists of each token's end in characters of the text.

    >>> token_advantages([0.0, 0.0], [[(0, 2, 1.0)], [(0, 2, -1.0)]], [[1, 2, 3], [2]], eps=0.0)
    ((0.7071067811865475, 0.7071067811865475, 0.0), (-0.7071067811865475,))
    """
    values = [value for row in spans for _, _, value in row]
    mean = math.fsum(values) / max(1, len(values))
    std = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / max(1, len(values) - 1)) + eps
    out = []
    for advantage, row, stops in zip(advantages, spans, ends, strict=True):
        offsets = (next(((v - mean) / std for start, end, v in row if start < stop <= end), 0.0) for stop in stops)
        out.append(tuple(advantage + weight * offset for offset in offsets))
    return tuple(out)


SENTENCE = (Reward("sentences", (-1.0, 1.0), _sentences, required_scorers=("sentences",)),)
