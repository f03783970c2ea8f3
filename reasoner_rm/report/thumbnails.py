"""Images small enough to stand inside the page."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

SIDE = 160
"""The longer side of a thumbnail, in pixels; smaller images keep their size."""

TINY = 64
"""Up to this side an image is kept pixel by pixel: it will be enlarged, and compression would show."""


def thumbnail(image: Image) -> str:
    """A `data:` address of the image, made smaller where it is large."""
    small = image.copy()
    small.thumbnail((SIDE, SIDE))
    out = io.BytesIO()
    small.save(out, "WEBP", quality=80, method=4, lossless=max(small.size) <= TINY)
    return "data:image/webp;base64," + base64.b64encode(out.getvalue()).decode()
