"""The eight answer formats of UnifiedReward's data, parsed into one form of gold.

Each format is tried; the last verdict in the text counts. A text that fits no format is an error.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

from reasoner_rm.errors import InputError

_ANSWER = re.compile(r"<answer>\s*(.*?)\s*</answer>", re.DOTALL)
_BETTER = re.compile(r"\b(Image|Video|Answer|Response)\s*([12])\s+is\s+(?:slightly\s+|much\s+)?better", re.IGNORECASE)
_TIE = re.compile(r"\bBoth\s+(image|video|answer|response)s\s+are\s+equally", re.IGNORECASE)
_NUMBER = r"(-?\d+(?:\.\d+)?)"
_FINAL = re.compile(rf"Final Score\W*?{_NUMBER}", re.IGNORECASE)
_ASPECT = re.compile(rf"^\W*(Alignment|Coherence|Style)(?: Score)?(?: \(\d+-\d+\))?\W*?{_NUMBER}\W*$", re.I | re.M)
_SHARES = re.compile(rf"(Alignment|Coherence|Style)[^\d\n]*?{_NUMBER}[^\d\n]+?{_NUMBER}", re.IGNORECASE)
_ELEMENT = re.compile(rf"^\W*([^\n():]+?)\s*\(([^()\n]+)\)\s*:\s*{_NUMBER}\s*$", re.MULTILINE)
_WORDS = re.compile(r"Word-wise Scores\W*?(\[\[.*?\]\])", re.DOTALL | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ParsedAnswer:
    """A parsed answer: ``p_first`` of two ``noun``, or a ``score`` on ``scale``; ``more`` goes to meta."""

    noun: str = ""
    p_first: float | None = None
    score: float | None = None
    scale: tuple[float, float] = (1, 5)
    aspects: dict[str, float] = field(default_factory=dict)
    more: dict[str, Any] = field(default_factory=dict)


def parse_answer(text: str, noun: str = "Image", scale: tuple[float, float] | None = None) -> ParsedAnswer:
    """Parse an assistant's turn.

    Args:
        noun: what is compared, where the format does not name it.
        scale: of a `Final Score`; by default 1 to 10 with element scores, 0 to 100 above 10, else 1 to 5.

    Raises:
        InputError: it fits no format, or its numbers are outside their range.
    """
    answers = _ANSWER.findall(text)
    return _verdict(answers[-1] if answers else text) or _shares(text, noun) or _score(text, scale) or _reject(text)


def _verdict(text: str) -> ParsedAnswer | None:
    """`Image 1 is better than Image 2.`, `Both images are equally good.`, the same in `<answer>`."""
    found = [(m.start(), m[1], float(m[2] == "1")) for m in _BETTER.finditer(text)]
    found += [(m.start(), m[1], 0.5) for m in _TIE.finditer(text)]
    if not found:
        return None
    _, noun, p = max(found)
    noun = noun.capitalize()
    return ParsedAnswer(noun="Answer" if noun == "Response" else noun, p_first=p)


def _shares(text: str, noun: str) -> ParsedAnswer | None:
    """Two numbers per aspect that sum to 1, one for each candidate."""
    shares = {}
    for aspect, one, two in _SHARES.findall(text):
        if abs(float(one) + float(two) - 1) > 0.02:
            return None
        shares[aspect.lower()] = float(one) / (float(one) + float(two))
    if not shares:
        return None
    return ParsedAnswer(noun=noun, p_first=sum(shares.values()) / len(shares), more={"aspect_shares": shares})


def _score(text: str, scale: tuple[float, float] | None) -> ParsedAnswer | None:
    """`Final Score`, alone or under element scores; or alignment, coherence and style, 1 to 5 each."""
    elements = {f"{name} ({kind})": float(value) for name, kind, value in _ELEMENT.findall(text)}
    aspects = {name.lower(): float(value) for name, value in _ASPECT.findall(text)}
    final = _FINAL.findall(text)
    if final:
        score = float(final[-1])
        scale = scale or ((1, 10) if elements else (0, 100) if score > 10 else (1, 5))
        more = {"elements": elements} if elements else {}
        return _checked(ParsedAnswer(score=score, scale=scale, aspects=aspects, more=more))
    if not aspects:
        return None
    words = _WORDS.search(text)
    more = {"word_scores": _words(words[1])} if words else {}
    mean = sum(aspects.values()) / len(aspects)
    return _checked(ParsedAnswer(score=mean, scale=scale or (1, 5), aspects=aspects, more=more))


def _words(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        raise InputError(f"word-wise scores are no JSON: {text:.60}") from None


def _checked(parsed: ParsedAnswer) -> ParsedAnswer:
    low, high = parsed.scale
    for value in (parsed.score, *parsed.aspects.values()):
        if value is None or not low <= value <= high:
            raise InputError(f"a score of {value} on a scale of {low:g} to {high:g}", remedy="--scale states another")
    return parsed


def _reject(text: str) -> ParsedAnswer:
    raise InputError(f"no verdict and no score in {text[-60:]!r}", remedy="correct or remove the row")
