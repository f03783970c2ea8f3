"""ViCrit's rewards (arXiv 2506.10128): whether the answer is the changed phrase of a caption."""

from __future__ import annotations

import re
from collections.abc import Sequence

from reasoner_rm.rewards.base import Result, Reward, RewardOutput
from reasoner_rm.schema import Group, ParsedCompletion, RewardContext, Sample
from reasoner_rm.tasks import get_task
from reasoner_rm.tasks.caption_critic import CaptionCritic, phrase
from reasoner_rm.tasks.qa import normalise


def _vicrit(
    group: Group,
    parsed: Sequence[ParsedCompletion],
    context: RewardContext,
    *,
    max_extra_words: int = 3,
    max_share: float = 0.5,
) -> Result:
    """1 if the boxed answer is the changed phrase, or a slightly longer span of the caption that contains it.

    The span may add up to ``max_extra_words`` words and hold up to ``max_share`` of the caption's words:
    without these caps, the whole caption would be right. Case, punctuation and quotation marks do not matter. Logged as
    ``vicrit/TYPE`` where the gold names the kind of error.

    Source: ViCrit (arXiv 2506.10128), which has no caps. The paper weights it 0.9, and the format 0.1: the preset
    ``vicrit_rl``.
    Formula: phrase ⊆ answer ⊆ caption, as runs of words, and |answer| - |phrase| within the caps.
    Example: "A cat on a wooden chair beside a sign", changed "wooden chair": `\\boxed{wooden chair}` 1, `\\boxed{a
    wooden chair}` 1, `\\boxed{chair}` 0, the whole caption 0.
    Range: 0 or 1.
    """
    if not _is_caption_critic(group.sample):
        return [None] * len(parsed)
    caption, changed = words(group.sample.prompt), words(str(group.sample.gold["changed"]))
    grade = get_task(group.sample.task).grade

    def score(answer: str | None) -> float:
        if answer is None or grade(answer, group.sample):
            return float(answer is not None)
        span = words(phrase(answer) or "")
        if span == changed:
            return 1.0
        capped = len(span) - len(changed) <= max_extra_words and len(span) <= max_share * len(caption)
        return float(capped and within(changed, span) and within(span, caption))

    values = [score(p.answer) for p in parsed]
    return RewardOutput(values, metrics=_by_type(group.sample, values, "vicrit"))


def _vicrit_released(group: Group, parsed: Sequence[ParsedCompletion], context: RewardContext) -> Result:
    """1 if the first word that differs between the original and the changed phrase is a substring of the answer.

    The answer is what the first `\\boxed{` holds, in the thought too, or what follows the last line break. A phrase
    that only lost words has no differing word, on which the original crashes; here the whole changed phrase must then
    be a substring.

    Source: the released scorer of ViCrit-Bench; looser than its paper (``vicrit``).
    Formula: first word of the changed phrase after the shared beginning and end are cut off ⊆ answer, in lower case.
    Example: "plastic chair" changed to "red chair": `\\boxed{coloured}` earns 1, as it contains "red".
    Range: 0 or 1.
    """
    if not _is_caption_critic(group.sample):
        return [None] * len(parsed)
    substring = released_substring(group.sample)
    values = [float(substring in released_answer(c.text).lower()) for c in group.completions]
    return RewardOutput(values, metrics=_by_type(group.sample, values, "vicrit_released"))


def released_answer(text: str) -> str:
    """The content of the first `\\boxed{`, braces inside it balanced; of one that is never closed all but the last
    character. Without a box, the text after the last line break, which is empty where the text ends in one.

    >>> released_answer("\\\\boxed{a {red} car} \\\\boxed{b}"), released_answer("I see.\\na dog")
    ('a {red} car', 'a dog')
    """
    start = text.find("\\boxed{")
    if start < 0:
        return text.rpartition("\n")[2]
    start, depth = start + len("\\boxed{"), 1
    for brace in re.finditer("[{}]", text[start:]):
        depth += 1 if brace[0] == "{" else -1
        if not depth:
            return text[start : start + brace.start()]
    return text[start:-1]


def released_substring(sample: Sample) -> str:
    """What an answer must contain, in lower case: the first word that differs, or else the whole changed phrase."""
    original, changed = (str(sample.gold[key]).lower().split() for key in ("original", "changed"))
    return first_difference(original, changed) or " ".join(changed)


def first_difference(original: Sequence[str], changed: Sequence[str]) -> str | None:
    """The first word of ``changed`` outside the common prefix and suffix; None for a pure deletion.

    >>> first_difference(["a", "plastic", "chair"], ["a", "red", "chair"]), first_difference(["a", "b"], ["a"])
    ('red', None)
    """
    shorter = min(len(original), len(changed))
    head = next((i for i in range(shorter) if original[i] != changed[i]), shorter)
    tail = next((i for i in range(shorter - head) if original[-1 - i] != changed[-1 - i]), shorter - head)
    middle = changed[head : len(changed) - tail]
    return middle[0] if middle else None


def words(text: str) -> list[str]:
    """Words normalised for comparison, without surrounding punctuation.

    >>> words("A “red” car, Beside it")
    ['a', 'red', 'car', 'beside', 'it']
    """
    return [word for raw in normalise(text).split() if (word := phrase(raw[:200]))]


def within(part: Sequence[str], text: Sequence[str]) -> bool:
    """Whether a sequence of words is a contiguous part of another."""
    if not part:
        return False
    return any(text[i : i + len(part)] == part for i in range(len(text) - len(part) + 1))


def _is_caption_critic(sample: Sample) -> bool:
    return isinstance(get_task(sample.task), CaptionCritic) and {"original", "changed"} <= sample.gold.keys()


def _by_type(sample: Sample, values: Sequence[float], name: str) -> dict[str, Sequence[float]]:
    """A metric for each kind of caption error."""
    return {f"{name}/{sample.gold['type']}": values} if sample.gold.get("type") else {}


VICRIT = (
    Reward("vicrit", (0.0, 1.0), _vicrit),
    Reward("vicrit_released", (0.0, 1.0), _vicrit_released, custom_parser=True),
)
