"""Checks of a changed caption, by rule or by model: exactly one phrase is changed, at the stated position."""

from __future__ import annotations

import difflib

from data_recipes.vicrit.word_groups import TYPES, same
from reasoner_rm.errors import InputError
from reasoner_rm.tasks.caption_critic import phrase

MAX_WORDS = 8
"""The most words of a phrase; a longer one is a rewritten sentence."""


def verify(caption: str, changed_caption: str, original: str, changed: str, type: str) -> None:
    """Refuse a change that is not exactly one error.

    Raises:
        InputError: a no-op, a synonym, several edits, a phrase that is not at the stated position, an unknown type.
    """
    if type not in TYPES:
        raise InputError(f"the type {type!r:.40} is unknown", remedy=f"use {', '.join(TYPES)}")
    if phrase(original) is None or phrase(changed) is None or phrase(original) == phrase(changed):
        raise InputError(f"no-op: {original!r:.60} became {changed!r:.60}")
    if _same(original, changed):
        raise InputError(f"{changed!r:.60} says the same as {original!r:.60}")
    if max(len(original.split()), len(changed.split())) > MAX_WORDS:
        raise InputError(f"more than {MAX_WORDS} words were changed")
    if caption.count(original) < 1 or changed_caption.count(changed) < 1:
        raise InputError("the phrase does not occur in its caption")
    if not any(_at(caption, original, i, changed) == changed_caption for i in _places(caption, original)):
        raise InputError("more than the one phrase was changed")


def _same(original: str, changed: str) -> bool:
    """Whether every word that differs is a synonym of the word it replaces."""
    one, two = (text.casefold().split() for text in (original, changed))
    edits = [op for op in difflib.SequenceMatcher(None, one, two, autojunk=False).get_opcodes() if op[0] != "equal"]
    return all(same(" ".join(one[a:b]), " ".join(two[c:d])) for _, a, b, c, d in edits)


def _places(text: str, part: str) -> list[int]:
    found, at = [], text.find(part)
    while at >= 0:
        found.append(at)
        at = text.find(part, at + 1)
    return found


def _at(text: str, old: str, start: int, new: str) -> str:
    return text[:start] + new + text[start + len(old) :]
