"""Turns of conversations in the formats of datasets, and the caption or answers inside a judge's instruction."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any

from reasoner_rm.data.row import SkipRow, as_dict, as_list, as_text
from reasoner_rm.errors import InputError

ROLES = {
    "human": "user", "user": "user", "gpt": "assistant", "bot": "assistant", "assistant": "assistant",
    "system": "system", "chatgpt": "assistant", "model": "assistant",
}  # fmt: skip
IMAGE = "<image>"
"""The place of an image in a turn's text."""
_IMAGE_PARTS, _TEXT_PARTS = ("image", "image_url", "input_image"), ("text", "input_text", "output_text")
_MARKS = re.compile(r"<(?:image|video)>\n?")
_CAPTION = r"(?:text |video )?caption|(?:text )?prompt|question|query|instruction"


def turns(value: object, column: str) -> list[tuple[str, str]]:
    """(role, text) of each turn of `{from, value}` or `{role, content}`; roles are user, assistant and system.

    A content of parts becomes a text with `<image>` in the places of its images.
    """
    found = []
    for item in as_list(value, column, least=1):
        turn = as_dict(item, column)
        role = turn.get("from", turn.get("role"))
        if role not in ROLES:
            raise InputError(f"{column}: a turn of {role!r}", remedy=f"known roles: {', '.join(ROLES)}")
        content = turn.get("value", turn.get("content"))
        if isinstance(content, list):
            content = "".join(_part(part, column) for part in content)
        found.append((ROLES[role], as_text(content, f"{column}: a turn")))
    return found


def pictures(value: object, column: str) -> list[object]:
    """What the parts of the turns name or hold as images, in their order: a path, an address or bytes. Parts that only
    mark the place of an image are left out.

    >>> parts = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}, {"type": "image"}]
    >>> pictures([{"role": "user", "content": [*parts, {"type": "image", "image": "a.png"}]}], "messages")
    ['data:image/png;base64,AA==', 'a.png']
    """
    contents = [as_dict(turn, column).get("content") for turn in as_list(value, column)]
    parts = [as_dict(part, f"{column}: a part") for c in contents if isinstance(c, list) for part in c]
    found = [_picture(part) for part in parts if _kind(part) in _IMAGE_PARTS]
    return [picture for picture in found if picture is not None]


def _picture(part: Mapping[str, Any]) -> object:
    stated = next((part[key] for key in ("image_url", "image", "url", "path") if part.get(key) is not None), None)
    stated = stated["url"] if isinstance(stated, Mapping) and "url" in stated else stated
    return stated.removeprefix("file://") if isinstance(stated, str) else stated


def _part(part: object, column: str) -> str:
    """A part's text, or the mark of its place if it is an image."""
    stated = as_dict(part, f"{column}: a part")
    kind = _kind(stated)
    if kind in _IMAGE_PARTS:
        return IMAGE
    if kind not in _TEXT_PARTS:
        raise SkipRow(f"it has a part of type {kind!r:.40}")
    return str(stated.get("text") or "")


def _kind(part: Mapping[str, Any]) -> str:
    return str(part.get("type") or "text")


def number_images(texts: Sequence[str]) -> list[str]:
    """The texts without `<image>`. Where the images do not all stand before the first text, or one alone in it, each
    place becomes `(image 1)`, `(image 2)`, … , as the images themselves are shown before all texts.

    >>> number_images(["<image>What?"]), number_images(["<image>What?", "A cat.", "And <image>?"])
    (['What?'], ['(image 1) What?', 'A cat.', 'And (image 2)?'])
    """
    first = texts[0].count(IMAGE)
    in_first = first == sum(text.count(IMAGE) for text in texts)
    if in_first and (first < 2 or texts[0].replace("\n", "").replace(" ", "").startswith(IMAGE * first)):
        return [strip_placeholders(text) for text in texts]
    number = itertools.count(1)
    return [
        re.sub(rf"{IMAGE}(\w?)", lambda m: f"(image {next(number)}) {m[1]}".rstrip(), text).strip() for text in texts
    ]


def exchange(value: object, column: str) -> tuple[str, str]:
    """The one question and its answer; a system turn before them is left out."""
    dialogue = [turn for turn in turns(value, column) if turn[0] != "system"]
    if [role for role, _ in dialogue] != ["user", "assistant"]:
        what = f"{column} holds {len(dialogue)} turns where a question and an answer are due"
        raise InputError(what, remedy="correct or remove the row")
    return dialogue[0][1], dialogue[1][1]


def strip_placeholders(text: str) -> str:
    """A text without `<image>` and `<video>`."""
    return _MARKS.sub("", text).strip()


def asked(instruction: str) -> str:
    """The caption or question after its label in a judge's instruction; without a label the whole instruction."""
    text = strip_placeholders(instruction)
    return section(text, _CAPTION) or text


def section(text: str, label: str) -> str:
    """The text after `label:` up to the next labelled line, without brackets around it. Empty without the label."""
    found = re.search(rf"^\W*(?:{label})\W{{0,4}}:\s*(.+?)(?=^\W*[A-Z][\w ]{{0,24}}\W{{0,4}}:|\n\s*\n|\Z)",
                      text, re.IGNORECASE | re.MULTILINE | re.DOTALL)  # fmt: skip
    return "" if found is None else found[1].strip().strip("[]*").strip()


def candidates(instruction: str, nouns: Sequence[str] = ("Answer", "Response", "Assistant")) -> list[str]:
    """The two answers that a judge's instruction quotes."""
    text = strip_placeholders(instruction)
    for noun in nouns:
        found = [section(text, rf"(?:the )?{noun} {k}") for k in ("(?:1|A)", "(?:2|B)")]
        if all(found):
            return found
    raise InputError("the instruction quotes no two answers", remedy="they follow `Answer 1:` and `Answer 2:`")
