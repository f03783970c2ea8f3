"""A reversible escape of control text inside data: `<|im_end|>`, `<|image_pad|>`, a quoted `<think>`.

An invisible word joiner (U+2060) is inserted after the first character, so that neither a tokenizer nor the parser
matches it. Text that already has joiners there gets one more, which makes the escape injective.
"""

from __future__ import annotations

import re

from reasoner_rm.errors import InputError

JOINER = "\u2060"
_BODY = r"(?=\|[^|<>\\\s]{1,40}\|>|/?(?:think|answer|image|video|tool_call|tool_response)>)"  # holds no escape itself
_BOXED = r"(?=boxed\{)"
_UNUSABLE = re.compile("[\x00\ud800-\udfff]")
_PLAIN = re.compile(rf"<({JOINER}*){_BODY}|\\({JOINER}*){_BOXED}")
_ESCAPED = re.compile(rf"<{JOINER}({JOINER}*){_BODY}|\\{JOINER}({JOINER}*){_BOXED}")


def escape(text: str) -> str:
    """Escape control text. ``unescape(escape(t)) == t`` for every t."""
    return _PLAIN.sub(lambda m: m[0][0] + JOINER + m[0][1:], text)


def unescape(text: str) -> str:
    """Undo :func:`escape`."""
    return _ESCAPED.sub(lambda m: m[0][0] + m[0][2:], text)


def check_text(text: str, name: str) -> None:
    """Reject NUL, which marks image slots in templates, and lone surrogates, which no tokenizer encodes.

    Raises:
        InputError: the text holds one; it names the sample.
    """
    if match := _UNUSABLE.search(text):
        what = "a NUL character" if match[0] == "\x00" else "a lone surrogate, half of a character"
        raise InputError(f"sample {name!r} holds {what}", remedy="remove it from the data")
