"""Length and repetition rewards."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Hashable, Sequence
from typing import Annotated

from pydantic import Field

from reasoner_rm.config import Count, Positive, Share
from reasoner_rm.rewards.accuracy import ACCURACY
from reasoner_rm.rewards.base import Reward, Values
from reasoner_rm.schema import Completion, Group, ParsedCompletion, RewardContext

Signed = Annotated[float, Field(ge=-1, le=1)]

CHARACTERS_PER_TOKEN = 4
"""An estimate for a text without token ids."""
MAX_CHARACTERS = 50_000
"""The characters of a text that repetition is computed over."""


def tokens(completion: Completion) -> int:
    """The number of tokens of a completion; without token ids, a quarter of its characters."""
    return len(completion.token_ids) or math.ceil(len(completion.text) / CHARACTERS_PER_TOKEN)


def _cosine_length(
    group: Group,
    parsed: Sequence[ParsedCompletion],
    context: RewardContext,
    *,
    longest: Count = 1024,
    correct: Share = 0.7,
    right: tuple[Signed, Signed] = (1.0, 0.5),
    wrong: tuple[Signed, Signed] = (0.0, -0.5),
) -> Values:
    """A half cosine over the length, from one value at length 0 to another at the longest; shorter is better.

    Source: VLM-R1 (arXiv 2504.07615), as intended: its code counts every answer as right and its cosine rises
    again beyond the longest length. Here the length is clamped and the accuracy is ``accuracy``.
    Formula: lo + (hi - lo) · (1 + cos(π · min(L, longest) / longest)) / 2, with (hi, lo) by accuracy ≥ ``correct``.
    Example: right, 512 of 1024 tokens: 0.75; 1024 or more: 0.5; wrong, 1024: -0.5.
    Range: -1..1; -0.5..1 unless ``right`` and ``wrong`` are set.
    """
    accuracy = ACCURACY.score(group, parsed, context)
    values: list[float | None] = []
    for completion, score in zip(group.completions, accuracy, strict=True):  # type: ignore[arg-type]
        high, low = right if score is not None and score >= correct else wrong
        share = min(tokens(completion), longest) / longest
        values.append(None if score is None else low + (high - low) * (1 + math.cos(math.pi * share)) / 2)
    return values


def _repetition(
    group: Group, parsed: Sequence[ParsedCompletion], context: RewardContext, *, words: Count = 6
) -> Values:
    """Minus the share of repeated pieces: boxes with their labels where the text holds a list, else runs of words.

    The list is in the first Markdown fence of the text, one marked ``json`` before others, or else the first list of
    boxes outside. Without one, or where it is empty, runs count. Of a list that is no valid JSON the entries count that
    can be found; the released code repairs it.

    Source: VLM-R1 (arXiv 2504.07615).
    Formula: -(1 - #distinct / #pieces), pieces being boxes or runs of ``words`` words of the whole text.
    Example: an answer of 4 boxes, all the same: -(1 - 1/4) = -0.75.
    Range: -1..0.
    """
    values = []
    for completion in group.completions:
        text = completion.text[:MAX_CHARACTERS]
        boxes = listed_boxes(text)
        values.append(-repeated(word_runs(text, words) if boxes is None else boxes))
    return values


def repeated(pieces: Sequence[Hashable]) -> float:
    """The share of pieces that repeat an earlier one, 0..1; 0 without any."""
    return 1 - len(set(pieces)) / len(pieces) if pieces else 0.0


def word_runs(text: str, words: int) -> list[Hashable]:
    """Every run of so many words, in lower case."""
    tokens = text.lower().split()
    return [tuple(tokens[i : i + words]) for i in range(len(tokens) - words + 1)]


_JSON_FENCE, _FENCE = re.compile(r"```json(.*?)```", re.DOTALL), re.compile(r"```(.*?)```", re.DOTALL)
_OPENED, _CLOSED = re.compile(r"\[\s*\{"), re.compile(r"\}\s*\]")
_ENTRY = re.compile(r"""["']bbox_2d["']\s*:\s*(\[[^][]*\])\s*,\s*["']label["']\s*:\s*["']([^"'\n]*)""")


def listed_boxes(text: str) -> list[Hashable] | None:
    """The boxes of a text's list of boxes, each with its label as one text; None without a list, or with an empty one.

    Entries without box or label are left out.
    """
    section = _box_list(text)
    try:
        items = json.loads(section)
        if not isinstance(items, list) or not items:
            return None
        entries = [item for item in items if isinstance(item, dict) and {"bbox_2d", "label"} <= item.keys()]
        return [f"{item['bbox_2d']}_{item['label']}" for item in entries]
    except (ValueError, RecursionError):
        return [f"{box}_{label}" for box, label in _ENTRY.findall(section)] or None


def _box_list(text: str) -> str:
    """The part of a text in which a list of boxes would be; empty without one."""
    fence = _JSON_FENCE.search(text) or _FENCE.search(text)
    if fence and fence[1].strip():
        return fence[1].strip()
    opened = _OPENED.search(text)
    box = text.find('"bbox_2d"', opened.end()) if opened else -1
    label = text.find('"label"', box) if box >= 0 else -1
    closed = _CLOSED.search(text, label) if label >= 0 else None
    return text[opened.start() : closed.end()] if opened and closed else ""


def _overlong(
    group: Group,
    parsed: Sequence[ParsedCompletion],
    context: RewardContext,
    *,
    longest: Count = 1024,
    buffer: Count = 256,
) -> Values:
    """0 up to a length, then linear to -1 at the longest: a soft penalty before truncation.

    Source: DAPO (arXiv 2503.14476), "soft overlong punishment".
    Formula: 0 for L ≤ longest - buffer; (longest - buffer - L) / buffer up to longest; -1 beyond.
    Example: longest 1024, buffer 256, L = 896: -0.5.
    Range: -1..0.
    """
    free = longest - buffer
    return [-min(1.0, max(0.0, (tokens(c) - free) / buffer)) for c in group.completions]


def _length_penalty(
    group: Group, parsed: Sequence[ParsedCompletion], context: RewardContext, *, per_token: Positive = 1 / 1024
) -> Values:
    """A constant cost per token, at most 1 in total.

    Source: Fact-RLHF (LLaVA-RLHF, arXiv 2309.14525) shapes its reward by length; the constant is this project's.
    Formula: -min(1, per_token · L).
    Example: 512 tokens at 1/1024 each: -0.5.
    Range: -1..0.
    """
    return [-min(1.0, per_token * tokens(c)) for c in group.completions]


def _no_eos(group: Group, parsed: Sequence[ParsedCompletion], context: RewardContext) -> Values:
    """-1 for a completion that was cut off at the length limit.

    Source: Fact-RLHF (LLaVA-RLHF, arXiv 2309.14525), penalty for answers that do not end.
    Formula: -1[finish reason is length].
    Example: cut off at the length limit: -1; ended by its stop token: 0.
    Range: -1 or 0.
    """
    return [-float(c.finish_reason == "length") for c in group.completions]


LENGTH = (
    Reward("cosine_length", (-1.0, 1.0), _cosine_length),
    Reward("repetition", (-1.0, 0.0), _repetition),
    Reward("overlong", (-1.0, 0.0), _overlong),
    Reward("length_penalty", (-1.0, 0.0), _length_penalty),
    Reward("no_eos", (-1.0, 0.0), _no_eos),
)
