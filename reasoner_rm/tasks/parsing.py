"""Parsing of completions: a `<think>` block followed by the task's answer container.

The answer is always the *last* complete container. ``parse_error`` names the first deviation from exactly
`<think>…</think><container>`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from typing import Literal

from reasoner_rm.schema import ParsedCompletion

AnswerFormat = Literal["answer", "boxed"]

BOXED = "\\boxed"
MAX_BRACES = 10_000
"""A text with more of them has no readable box, as they are scanned one by one."""


def parse(text: str, container: AnswerFormat, readable: Callable[[str], bool]) -> ParsedCompletion:
    """Parse a completion.

    Args:
        text: the assistant turn, control text unescaped or not; never raises on any string.
        container: what encloses the task's answer: ``<answer>…</answer>`` or ``\\boxed{…}``.
        readable: whether a text is a valid answer of the task.
    """
    thinking = last_element(text, "think")
    if thinking is not None and not is_visible(thinking):
        thinking = ""
    if container == "answer":
        answer = last_element(text, "answer")
    else:
        answer = next((content.strip() for content, _, _ in reversed(boxes(text))), None)
    if answer is not None and not is_visible(answer):
        answer = ""
    parse_error = _first_error(text, container, answer, readable)
    return ParsedCompletion(
        thinking=thinking,
        answer=answer if answer and readable(answer) else None,
        well_formed=not parse_error,
        parse_error=parse_error,
    )


BLANK = frozenset("\u115f\u1160\u2800\u3164\uffa0")
"""Letters and symbols without ink: Hangul fillers, the empty Braille pattern."""


def is_visible(text: str) -> bool:
    """Whether a text has a character with ink: a letter, digit, punctuation mark or symbol. White space, control and
    format characters (U+200B, U+FEFF, NUL) and combining marks alone have none."""
    return any(unicodedata.category(char)[0] in "LNPS" and char not in BLANK for char in text)


def _first_error(text: str, container: AnswerFormat, answer: str | None, readable: Callable[[str], bool]) -> str:
    """The first reason why a text is not exactly one thought and one readable answer; empty when it is well formed."""
    for tag in ("<think>", "</think>") + (("<answer>", "</answer>") if container == "answer" else ()):
        n = text.count(tag)
        if n != 1:
            return f"no {tag}" if n == 0 else f"{tag} appears {n} times"
    if not text.lstrip().startswith("<think>"):
        return "text before <think>"
    think, _, rest = text.partition("</think>")
    if not is_visible(think.replace("<think>", "", 1)):
        return "empty <think>"
    if container == "boxed" and "\\boxed{" in think:
        return "\\boxed{} inside <think>"
    if container == "answer":
        if "<answer>" not in rest:
            return "<answer> before </think>"
        before, _, rest = rest.partition("<answer>")
        if before.strip():
            return "text between </think> and <answer>"
        _, closed, after = rest.partition("</answer>")
        if not closed:
            return "<answer> is not closed"
        if after.strip():
            return "text after </answer>"
    else:
        boxed = boxes(rest)
        if len(boxed) != 1:
            return f"\\boxed{{}} appears {len(boxed)} times" if boxed else "no complete \\boxed{}"
        _, start, end = boxed[0]
        if "\\boxed{" in rest[:start] + rest[end:]:
            return "\\boxed{} is not closed"
    if not answer or not readable(answer):
        return f"unreadable answer {answer[:60]!r}" if answer else "empty answer"
    return ""


def last_element(text: str, tag: str) -> str | None:
    """The content of the last complete ``<tag>…</tag>`` that holds no other ``<tag>``; None without one."""
    start = text.rfind(f"<{tag}>", 0, max(0, text.rfind(f"</{tag}>")))
    if start < 0:
        return None
    start += len(tag) + 2
    return text[start : text.find(f"</{tag}>", start)].strip()


def first_element(text: str, tag: str) -> str | None:
    """The content between the first ``<tag>`` and the next ``</tag>``, as the released readers take it; None without
    one. Linear time."""
    start = text.find(f"<{tag}>")
    end = text.find(f"</{tag}>", start)
    return text[start + len(tag) + 2 : end] if 0 <= start < end else None


def boxes(text: str) -> list[tuple[str, int, int]]:
    """Every complete outermost ``\\boxed{…}`` with balanced braces: (content, start, end). Linear time."""
    if BOXED not in text or text.count("{") + text.count("}") > MAX_BRACES:
        return []
    open_braces: list[tuple[int | None, int]] = []  # (where \\boxed begins, or None for a plain brace; content start)
    complete: list[tuple[int, int, int]] = []  # (start, content start, end)
    for brace in re.finditer("[{}]", text):
        at = brace.start()
        if brace[0] == "{":
            open_braces.append((at - len(BOXED) if text.endswith(BOXED, 0, at) else None, at + 1))
        elif open_braces:
            start, content = open_braces.pop()
            if start is not None:
                while complete and complete[-1][0] > start:  # those inside this one
                    complete.pop()
                complete.append((start, content, brace.end()))
    return [(text[content : end - 1], start, end) for start, content, end in complete]
