"""Texts and images as messages of OpenAI's chat API."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from typing import Any

from reasoner_rm.data.images import identify, open_image, read_bytes
from reasoner_rm.schema import MediaRef
from reasoner_rm.tasks.render import Prompt

ORIENTATION = 0x0112


def user_turn(prompt: Prompt) -> dict[str, Any]:
    """A rendered prompt as a message: its parts in their order, images as data URIs.

    Raises:
        InputError: a missing or broken image.
    """
    parts = zip(prompt.content, prompt.is_image, strict=True)
    return user_message(encoded(part) if image else str(part) for part, image in parts)


def user_message(content: Iterable[str | bytes]) -> dict[str, Any]:
    """A user's message of texts and encoded images."""
    return {"role": "user", "content": [_part(part) for part in content]}


def _part(part: str | bytes) -> dict[str, Any]:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    kind = "png" if part.startswith(b"\x89PNG") else "jpeg"
    return {"type": "image_url", "image_url": {"url": f"data:image/{kind};base64,{base64.b64encode(part).decode()}"}}


def encoded(ref: MediaRef) -> bytes:
    """An image as PNG or JPEG bytes that every decoder reads alike: its own bytes where they have no orientation,
    transparency or 16-bit values, else the opened image as PNG.

    Raises:
        InputError: a missing or broken image.
    """
    data = read_bytes(ref) if isinstance(ref, str) else ref if isinstance(ref, bytes) else b""
    if data.startswith((b"\x89PNG", b"\xff\xd8\xff")) and _plain(data):
        return data
    out = io.BytesIO()
    open_image(ref).save(out, "PNG", compress_level=1)
    return out.getvalue()


def _plain(data: bytes) -> bool:
    try:
        with identify(data) as image:
            upright = image.getexif().get(ORIENTATION, 1) == 1
            image.load()
            return image.mode in ("RGB", "L") and "transparency" not in image.info and upright
    except Exception:  # PIL raises many kinds of errors on broken files; opening it again gives the reason
        return False
