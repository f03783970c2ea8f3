"""Is a text built as it was asked to be: exactly, from its start, or anywhere in it."""

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

    ``strict``: exactly one of each and nothing outside them (in front of a box, text may stand). ``prefix``: it begins
    so, and may go on. ``search``: it holds that somewhere. In every mode the last thought has to say something and the
    last answer has to be readable.

    Source: ``prefix`` is UnifiedReward-Think's (arXiv 2505.03318), ``search`` VLM-R1's for referring expressions
    (arXiv 2504.07615), both without a look at the answer, as in ``unified_think_released``.
    Formula: `<think>…</think>` then `<answer>…</answer>` or `\\boxed{…}`.
    Example: `<think>a</think><answer>Image 1 is better</answer>` earns 1; with a word after it 0, or 1 by ``prefix``.
    Range: 0 or 1.
    """
    if mode == "strict":
        return [float(p.well_formed) for p in parsed]
    container = get_task(group.sample.task).container
    return [
        float(p.answer is not None and bool(p.thinking) and shaped(c.text, container, from_start=mode == "prefix"))
        for c, p in zip(group.completions, parsed, strict=True)
    ]


def shaped(text: str, container: AnswerFormat, from_start: bool) -> bool:
    """Whether a thought and then the container stand in a text, at its start or anywhere. One pass over any text.

    >>> shaped("<think>a</think> <answer>b</answer> c", "answer", True), shaped("so <think>", "answer", False)
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
