"""Labels of two candidates in a text, exchanged when their order is.

`Image 1`, `Image #1`, `Image1`, `image_1`, `Images 1 and 2`, `image 1/2`, `Image A`, `image one`, `first image` and
`2nd image` are exchanged. References whose candidate follows from the layout or the context (`the left image`, `the
second is blurred`, `Image 3`) cannot be exchanged with certainty; :func:`swappable` says whether a text has any.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass

SYNONYMS = {"Image": "image|picture|photo(?:graph)?", "Video": "video|clip", "Answer": "answer|response|reply"}
"""What a candidate is called beside `candidate`, `option` and `choice`, by its noun."""

OTHER = {"1": "2", "A": "B", "one": "two", "first": "second", "1st": "2nd"}
OTHER |= {b: a for a, b in OTHER.items()}
VERBS = "is|was|has|shows|does|looks|depicts|contains|fits|matches|wins|beats|follows"


@dataclass(frozen=True, slots=True)
class _Patterns:
    """Of one noun. ``labels``, of one candidate and of both, have the noun and the marks as groups."""

    labels: tuple[re.Pattern[str], ...]
    ordinals: re.Pattern[str]
    uncertain: re.Pattern[str]


def swap_labels(text: str, noun: str) -> str:
    """Exchange the candidates' labels in a text: ``Image 1`` becomes ``Image 2`` and the other way round.

    Applied twice it gives the text back. ``Images 1 and 2`` becomes ``Images 2 and 1``, so that "show a 7 and a 3"
    stays true.

    Args:
        noun: of one candidate, as in `PAIRWISE_TASKS`.

    >>> swap_labels("Image 1 shows a 7, the second image a 3.", "Image")
    'Image 2 shows a 7, the first image a 3.'
    """
    patterns = _patterns(noun)
    for pattern in patterns.labels:
        text = pattern.sub(lambda m: m[1] + _MARK.sub(lambda mark: _other(mark[0]), m[2]), text)
    return patterns.ordinals.sub(lambda m: _other(m[0]), text)


def swappable(text: str, noun: str) -> bool:
    """Whether :func:`swap_labels` exchanges every reference to a candidate.

    >>> swappable("The first image is red, the second is blue.", "Image")
    False
    """
    patterns = _patterns(noun)
    for pattern in (*patterns.labels, patterns.ordinals):
        text = pattern.sub("", text)
    return patterns.uncertain.search(text) is None


_MARK = re.compile(r"[12]|(?<![A-Za-z])(?:[AB]|(?i:one|two))(?![A-Za-z])")


def _other(mark: str) -> str:
    """The other label, with the same capitals."""
    other = OTHER.get(mark) or OTHER[mark.lower()]
    if mark.isupper() and len(mark) > 1:
        return other.upper()
    return other.capitalize() if mark[0].isupper() else other


@functools.cache
def _patterns(noun: str) -> _Patterns:
    one = rf"(?:{SYNONYMS.get(noun, re.escape(noun))}|candidate|option|choice)"
    words = "" if noun == "Answer" else "|one|two"  # "I answer two questions"
    near = r"(?:\s*(?:#|no\.|number)\s*|\s*[(\[]\s*|[_-]|\s*)"  # before a digit
    far = r"(?:\s*(?:#|no\.|number)\s*|\s*[(\[]\s*|[_-]|\s+)"  # before a letter or a word
    mark = rf"(?:{near}[12]|{far}(?:(?-i:[AB]){words}))"
    second = rf"\s*(?:#\s*)?(?:[12]|(?-i:[AB])\b{words})"
    alone = rf"{mark}(?:\s*(?:/|-|–|\bvs\.?|\bversus\b){second})?"  # "image 1, 2 circles" has one label
    several = rf"{mark}(?:\s*(?:,|&|/|-|–|\b(?:and|or|to|through|vs\.?|versus)\b){second})+"
    labels = rf"\b({one})({alone})\b(?!\.\d)", rf"\b({one}s)({several})\b(?!\.\d)"
    order = "first|second|1st|2nd"
    ordinals = rf"\b(?:{order})(?=(?:\s+(?:and|or|&)\s+(?:the\s+)?(?:{order}))?\s+(?:\w+\s+)?{one}s?\b)"
    uncertain = "|".join((
        rf"\bthe\s+(?:{order})(?:\s+(?:one|a|an|the|{VERBS})\b|\s*[,.;:)]|\s*$)",
        rf"\b(?:left|right)(?:-?hand)?\s+(?:\w+\s+)?{one}\b",
        rf"\b{one}\s+(?:on|at|to)\s+(?:the|your)\s+(?:left|right)\b",
        r"\bthe\s+(?:left|right)\s+one\b",
        rf"\b{one}\s+(?-i:[ab])\s+(?:{VERBS})\b",
        rf"\b{one}s?{near}\d+\b",
        rf"\b{one}s?\s+(?-i:[C-HJ-Z]|II?)\b",
        r"#\s*[12]\b",
        rf"(?<!\w)(?-i:[AB])\s+(?:{VERBS}|better)\b",
    ))  # fmt: skip
    first, both, *others = (re.compile(p, re.IGNORECASE) for p in (*labels, ordinals, uncertain))
    return _Patterns((first, both), *others)
