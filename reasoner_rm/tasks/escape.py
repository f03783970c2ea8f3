"""One reversible escape: control text inside data (`<|im_end|>`, `<|image_pad|>`, a quoted `<think>`) stays text.

A word joiner (U+2060, invisible) goes in after the first character, so that neither a tokenizer nor the parser
takes it for control. Text that already holds joiners there gains one more, which makes the escape injective.
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
    """Make control text harmless. ``unescape(escape(t)) == t`` for every t."""
    return _PLAIN.sub(lambda m: m[0][0] + JOINER + m[0][1:], text)


def unescape(text: str) -> str:
    """Undo :func:`escape`."""
    return _ESCAPED.sub(lambda m: m[0][0] + m[0][2:], text)


def check_text(text: str, name: str) -> None:
    """Refuse what no prompt can carry: NUL, which marks image slots, and half characters, which no tokenizer takes.

    Raises:
        InputError: naming the sample.
    """
    if found := _UNUSABLE.search(text):
        what = "a NUL character" if found[0] == "\x00" else "half a character (a lone surrogate)"
        raise InputError(f"sample {name!r} holds {what}", remedy="remove it from the data")
