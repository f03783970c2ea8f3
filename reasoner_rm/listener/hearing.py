"""What a listener gets to read of a completion: its reasoning, never its verdict."""

from __future__ import annotations

import re

BEGIN, END = "<think>", "</think>"
_VERDICT = re.compile(
    r"[^.!?\n]*\b(?:(?:image|video|answer)\s+[12]\s+(?:is|wins|should)\b[^.!?\n]*\b(?:better|best|preferred|winner|wins?)\b"
    r"|(?:prefer|choose|pick)\s+(?:image|video|answer)\s+[12]\b)[^.!?\n]*[.!?]?",
    re.IGNORECASE,
)


def heard(text: str, strip_verdict: bool = False) -> str | None:
    """The completion up to and including its first ``</think>``; None when the thought is never closed.

    Args:
        strip_verdict: remove sentences of the reasoning that already state a verdict.
    """
    said, closed, _ = text.partition(END)
    before, opened, thought = said.partition(BEGIN)
    if not closed or not opened or before.strip():
        return None
    return before + opened + (_VERDICT.sub("", thought) if strip_verdict else thought) + END
