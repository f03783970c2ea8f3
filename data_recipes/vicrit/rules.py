"""One error in a caption by rule: a word is replaced by another of its row, with correct grammar around it."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from data_recipes.vicrit.word_groups import ALTERNATIVES, same

_QUOTED = re.compile(r"[\"“]([A-Za-z][A-Za-z ]{1,30}[A-Za-z])[\"”]")
_BEFORE = re.compile(r"\b(an?)(\s+)$", re.IGNORECASE)
_VOWEL = re.compile(r"(?!one\b|uni|use|eu)[aeiou]|hour|honest", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Change:
    """A caption with one phrase changed: ``original`` became ``changed``, at ``span`` of ``caption``."""

    caption: str
    original: str
    changed: str
    type: str
    span: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Spot:
    """A phrase that can be changed: its position, its type, what excludes it."""

    start: int
    end: int
    type: str
    others: tuple[str, ...]


def spots(caption: str) -> Iterator[Spot]:
    """All phrases of a caption that can be changed."""
    for kind, rows in ALTERNATIVES.items():
        for row in rows:
            for found in _pattern(row).finditer(caption):
                phrase = found[0].casefold()
                others = tuple(word for word in row if not same(word, phrase))
                if kind == "count" and caption[found.end() : found.end() + 1] in ("-", "'", "’"):
                    continue  # two-storey, three's
                yield Spot(found.start(), found.end(), kind, others)
    for found in _QUOTED.finditer(caption):
        yield Spot(found.start(1), found.end(1), "scene text", ())


def inject(caption: str, rng: random.Random, counts: Mapping[str, int] | None = None) -> Change | None:
    """A caption with one error; None where nothing can be changed.

    Args:
        counts: counts of the types so far; the rarest possible type is chosen.
    """
    found = list(spots(caption))
    fitting = [spot for spot in found if _once(caption, spot)]
    if not fitting:
        return None
    counts = counts or {}
    rarest = min(counts.get(spot.type, 0) for spot in fitting)
    spot = rng.choice([spot for spot in fitting if counts.get(spot.type, 0) == rarest])
    phrase = caption[spot.start : spot.end]
    new = _misspelt(phrase, rng) if spot.type == "scene text" else rng.choice(_fresh(spot, caption))
    return _replaced(caption, spot, new)


def _once(caption: str, spot: Spot) -> bool:
    """Whether the phrase occurs once; otherwise its other occurrence would contradict the change."""
    phrase = caption[spot.start : spot.end]
    whole = len(re.findall(rf"\b{re.escape(phrase)}\b", caption, re.IGNORECASE)) == 1
    return whole and (spot.type == "scene text" or bool(_fresh(spot, caption)))


def _fresh(spot: Spot, caption: str) -> list[str]:
    """Alternatives that the caption does not contain, since such a change might be true."""
    return [w for w in spot.others if not re.search(rf"\b{re.escape(w)}\b", caption, re.IGNORECASE)]


def _replaced(caption: str, spot: Spot, new: str) -> Change:
    phrase = caption[spot.start : spot.end]
    new = new.capitalize() if phrase[:1].isupper() and spot.type != "scene text" else new
    start, original, changed = spot.start, phrase, new
    article = _BEFORE.search(caption[:start])
    if article and bool(_VOWEL.match(phrase)) != bool(_VOWEL.match(new)):  # a and an depend on the word
        right = "an" if _VOWEL.match(new) else "a"
        right = right.capitalize() if article[1][0].isupper() else right
        start = article.start(1)
        original, changed = caption[start : spot.end], right + article[2] + new
    text = caption[:start] + changed + caption[spot.end :]
    return Change(text, original, changed, spot.type, (start, start + len(changed)))


def _misspelt(text: str, rng: random.Random) -> str:
    """The text of a sign with one letter changed, in the same case."""
    at = rng.choice([i for i, letter in enumerate(text) if letter.isalpha()])
    alphabet = "bcdfghklmnprstvw" if text[at].lower() not in "aeiou" else "aeiou"
    other = rng.choice([letter for letter in alphabet if letter != text[at].lower()])
    return text[:at] + (other.upper() if text[at].isupper() else other) + text[at + 1 :]


def _pattern(row: tuple[str, ...]) -> re.Pattern[str]:
    words = "|".join(re.escape(word) for word in sorted(row, key=len, reverse=True))
    return re.compile(rf"\b(?:{words})\b", re.IGNORECASE)
