"""Format rewards: the layout `<think>…</think>` and answer, exactly, at the start, or anywhere in a text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from reasoner_rm.rewards.base import Reward, Values
from reasoner_rm.schema import Group, ParsedCompletion, RewardContext
from reasoner_rm.tasks import get_task
from reasoner_rm.tasks.parsing import AnswerFormat, boxes

Mode = Literal["strict", "prefix", "search"]

_JOINT = re.compile(r"</think>\s*<answer>")


def _format(
    group: Group, parsed: Sequence[ParsedCompletion], context: RewardContext, *, mode: Mode = "strict"
) -> Values:
    """1 if the text is one thought followed by a readable answer in the task's container, else 0.

    ``strict``: exactly one of each and nothing outside them (text before a box is allowed). ``prefix``: the layout at
    the start, with any continuation. ``search``: the layout anywhere. In every mode the last thought must not be empty
    and the last answer must be readable.

    Source: ``prefix`` is UnifiedReward-Think's (arXiv 2505.03318), ``search`` VLM-R1's for referring expressions
    (arXiv 2504.07615). No released code asks for a thought that is not empty or for a readable answer, as in
    ``unified_think_released``; R1-Reward (arXiv 2505.02835) and VLM-R1 take repeated answers, and no white space
    behind the last.
    Formula: `<think>…</think>` then `<answer>…</answer>` or `\\boxed{…}`.
    Example: `<think>a</think><answer>Image 1 is better</answer>` earns 1; with a word after it 0, or 1 by ``prefix``.
    Range: 0 or 1.
    """
    if mode == "strict":
        return [float(p.well_formed) for p in parsed]
    container = get_task(group.sample.task).container
    return [
        float(p.answer is not None and bool(p.thinking) and has_layout(c.text, container, from_start=mode == "prefix"))
        for c, p in zip(group.completions, parsed, strict=True)
    ]


def has_layout(text: str, container: AnswerFormat, from_start: bool) -> bool:
    """Whether a text has a thought followed by the container, at its start or anywhere. Linear time.

    >>> has_layout("<think>a</think> <answer>b</answer> c", "answer", True), has_layout("so <think>", "answer", False)
    (True, False)
    """
    start = text.find("<think>")
    if start < 0 or (from_start and start > 0):
        return False
    if container == "answer":
        joint = _JOINT.search(text, start)
        return joint is not None and text.find("</answer>", joint.end()) >= 0
    end = text.find("</think>", start)
    return end >= 0 and bool(boxes(text[end:]))


FORMAT = Reward("format", (0.0, 1.0), _format)
