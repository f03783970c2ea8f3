"""Images small enough to stand inside the page."""

from __future__ import annotations

import base64
import io

from reasoner_rm.data.images import open_image
from reasoner_rm.errors import InputError
from reasoner_rm.schema import MediaRef

SIDE = 160
"""The longer side of a thumbnail, in pixels; smaller images keep their size."""

TINY = 64
"""Up to this side an image is kept pixel by pixel: it will be enlarged, and compression would show."""


def thumbnail(ref: MediaRef) -> str | None:
    """A `data:` address of the image, or None when it is missing or broken."""
    try:
        image = open_image(ref)
    except InputError:
        return None
    image.thumbnail((SIDE, SIDE))
    out = io.BytesIO()
    image.save(out, "WEBP", quality=80, method=4, lossless=max(image.size) <= TINY)
    return "data:image/webp;base64," + base64.b64encode(out.getvalue()).decode()
