"""The part of a completion that a listener reads: the reasoning without the verdict."""

from __future__ import annotations

import re

BEGIN, END = "<think>", "</think>"
_SENTENCE = re.compile(r"[^.!?\n]+[.!?]?")
_VERDICT = re.compile(
    r"\b(?:(?:image|video|answer)\s+[12]\s+(?:is|wins|should)\b.{0,200}?\b(?:better|best|preferred|winner|wins?)\b"
    r"|(?:prefer|choose|pick)\s+(?:image|video|answer)\s+[12]\b"
    r"|(?:answer|verdict|winner|choice|better\s+one)\s*(?:is|:|must\s+be|should\s+be)\s*(?:image|video|answer)?\s*[12]\b)",
    re.IGNORECASE,
)


def extract_reasoning(text: str, strip_verdict: bool = False) -> str | None:
    """The completion up to and including its first ``</think>``; None without a closed thought at the start.

    Args:
        strip_verdict: remove sentences of the reasoning that already state a verdict.
    """
    head, closed, _ = text.partition(END)
    before, opened, thought = head.partition(BEGIN)
    if not closed or not opened or before.strip():
        return None
    return before + opened + (_without_verdicts(thought) if strip_verdict else thought) + END


def _without_verdicts(thought: str) -> str:
    return _SENTENCE.sub(lambda sentence: "" if _VERDICT.search(sentence[0]) else sentence[0], thought)
