"""Rendering of prompts: a sample gives the same prompt, byte for byte, in SFT, RL, evaluation and judge."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

from reasoner_rm.errors import InputError
from reasoner_rm.schema import MediaRef, Sample
from reasoner_rm.tasks import get_task
from reasoner_rm.tasks.escape import check_text, escape
from reasoner_rm.tasks.frames import frames
from reasoner_rm.tasks.template_language import render_text

FOLDER = Path(__file__).parent / "templates"
HIDDEN_CAPTION = "hidden_caption"
_SLOT = re.compile("\x00(\\d+)\x00")  # data may not hold NUL, so no text can imitate a slot


@dataclass(frozen=True, slots=True)
class Template:
    """A prompt's text with its name. ``hash`` identifies the wording that a model was trained with."""

    name: str
    text: str

    @property
    def hash(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Prompt:
    """A user turn: text and images in reading order."""

    content: tuple[str | MediaRef, ...]
    is_image: tuple[bool, ...]

    @property
    def images(self) -> tuple[MediaRef, ...]:
        return tuple(part for part, image in zip(self.content, self.is_image, strict=True) if image)

    def messages(self) -> list[dict[str, Any]]:
        """The turn in the form that `apply_chat_template` takes, with images as placeholders."""
        parts = zip(self.content, self.is_image, strict=True)
        content = [{"type": "image"} if image else {"type": "text", "text": part} for part, image in parts]
        return [{"role": "user", "content": content}]


def load_template(task: str, variant: str = "default") -> Template:
    """`templates/<task>.<variant>.txt`, or a path to a template file.

    Raises:
        InputError: no such template; the known variants are named.
    """
    get_task(task)
    file = Path(variant)
    path = file if file.suffix else FOLDER / f"{task}.{variant}.txt"
    if not path.is_file():
        known = sorted(p.name.split(".")[1] for p in FOLDER.glob(f"{task}.*.txt"))
        raise InputError(f"no template {variant!r} for {task}", remedy=f"known: {', '.join(known)}, or a .txt file")
    return Template(variant, path.read_text(encoding="utf-8").strip())


def render(sample: Sample, template: Template) -> Prompt:
    """Fill a template with a sample. Control text in the sample is escaped; every image must be placed exactly once.

    A video becomes a sequence of images; no model's own video input is used. ``meta.hidden_caption`` is the caption
    that raters did not see; ``prompt`` is then the question they were asked.

    Raises:
        InputError: NUL characters in the sample's text, a template that drops or repeats an image or has no case
            for a hidden caption, a video without frames.
    """
    if HIDDEN_CAPTION in sample.meta and HIDDEN_CAPTION not in template.text:
        what = f"template {template.name!r} always shows a caption, and the raters of sample {sample.id!r} saw none"
        remedy = f"use default or brief, give it a case for meta.{HIDDEN_CAPTION}, or build with --show-prompt always"
        raise InputError(what, remedy=remedy)
    media, videos = list(sample.images), []
    for video in map(frames, sample.videos):
        videos.append("".join(f"\x00{len(media) + i}\x00" for i in range(len(video))))
        media += video
    fields: Mapping[str, Any] = {
        "prompt": _escaped(sample.prompt, sample),
        "responses": _escaped(sample.responses, sample),
        "images": [f"\x00{i}\x00" for i in range(len(sample.images))],
        "videos": videos,
        "meta": _escaped(sample.meta, sample),
    }
    try:
        text = render_text(template.text, fields)
    except jinja2.TemplateError as error:
        remedy = "it may use prompt, responses, images, videos, meta"
        raise InputError(f"template {template.name!r}: {error}", remedy=remedy) from None
    pieces = _SLOT.split(text)
    slots = [int(p) for p in pieces[1::2]]
    if sorted(slots) != list(range(len(media))):
        raise InputError(
            f"template {template.name!r} places images {slots} of sample {sample.id!r}, which has {len(media)}",
            remedy="place each image exactly once",
        )
    parts = [(media[int(p)], True) if i % 2 else (p, False) for i, p in enumerate(pieces)]
    parts = [(p, image) for p, image in parts if image or p]
    return Prompt(tuple(p for p, _ in parts), tuple(image for _, image in parts))


def _escaped(value: Any, sample: Sample) -> Any:
    """The value with every text in it escaped, recursively."""
    match value:
        case str():
            check_text(value, sample.id)
            return escape(value)
        case Mapping():
            return {_escaped(k, sample): _escaped(v, sample) for k, v in value.items()}
        case list() | tuple():
            return [_escaped(v, sample) for v in value]
    return value
