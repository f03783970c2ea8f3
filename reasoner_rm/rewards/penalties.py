"""Penalties for degenerate completions and leaked answers, for any task."""

from __future__ import annotations

import re
from collections.abc import Sequence

from reasoner_rm.config import Count, Share
from reasoner_rm.rewards.base import Reward, Values
from reasoner_rm.rewards.length import MAX_CHARACTERS, repeated, word_runs
from reasoner_rm.schema import Group, ParsedCompletion, RewardContext, Sample
from reasoner_rm.tasks.qa import normalise

CONTROL = ("<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")


def _banned(
    group: Group, parsed: Sequence[ParsedCompletion], context: RewardContext, *, banned: tuple[str, ...] = CONTROL
) -> Values:
    """-1 for a text that contains a banned string; control tokens by default.

    Source: this project's; a placeholder for an image in a completion breaks the next forward pass of every trainer.
    Formula: -1[any banned string in the text].
    Example: `<think><|image_pad|>` earns -1.
    Range: -1 or 0.
    """
    return [-float(any(piece in c.text for piece in banned)) for c in group.completions]


def _degenerate(
    group: Group,
    parsed: Sequence[ParsedCompletion],
    context: RewardContext,
    *,
    share: Share = 0.5,
    run: Count = 100,
    words: Count = 6,
) -> Values:
    """-1 for a degenerate text: most of its word n-grams are repeated, or one character is repeated many times.

    Source: this project's; ``repetition`` is the graded form.
    Formula: -1[repeated share of ``words``-word runs > ``share``, or one character ``run`` times in a row].
    Example: a sentence written ten times: -1.
    Range: -1 or 0.
    """
    repetition = re.compile(rf"([^\s])\1{{{run - 1}}}")
    texts = [c.text[:MAX_CHARACTERS] for c in group.completions]
    return [-float(repeated(word_runs(t, words)) > share or repetition.search(t) is not None) for t in texts]


def _leak(group: Group, parsed: Sequence[ParsedCompletion], context: RewardContext) -> Values:
    """-1 for all completions of a question whose text contains the answer.

    It is constant within a group, so it has no effect on advantages; its mean in the log is the share of such data.

    Source: this project's.
    Formula: -1[the gold answer is in the prompt, as whole words].
    Example: prompt "The sum is 42. What is it?", gold 42: -1.
    Range: -1 or 0.
    """
    return [-float(leaked(group.sample))] * len(parsed)


def leaked(sample: Sample) -> bool:
    """Whether a question's text contains its answer. Options of a choice are not a leak.

    >>> leaked(Sample("1", "qa", "The sum is 42. What is it?", gold={"answer": "42", "kind": "number"}))
    True
    """
    answer = normalise(str(sample.gold.get("answer", "")))
    if sample.task != "qa" or not answer or sample.gold.get("kind") == "choice":
        return False
    return re.search(rf"(?<!\w){re.escape(answer)}(?!\w)", normalise(sample.prompt)) is not None


PENALTIES = (
    Reward("banned", (-1.0, 0.0), _banned),
    Reward("degenerate", (-1.0, 0.0), _degenerate),
    Reward("leak", (-1.0, 0.0), _leak),
)
