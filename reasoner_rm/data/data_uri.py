"""Data URIs of images (RFC 2397), as clients and datasets write them."""

from __future__ import annotations

import base64
import binascii

from reasoner_rm.errors import InputError

_TYPES = ("", "image", "application/octet-stream")


def is_data_uri(text: str) -> bool:
    """Whether a text is a data URI; the scheme's case does not matter."""
    return text[:5].lower() == "data:"


def decode_data_uri(text: str) -> bytes:
    """The bytes of ``data:image/…;base64,…``.

    The media type may be any image, ``image`` alone, general bytes, or missing: the decoder looks at the bytes. The
    base64 may be wrapped, and its padding may be missing, as browsers read it.

    Raises:
        InputError: another kind of data, or broken base64.
    """
    header, comma, body = text.partition(",")
    kind, *parameters = header[5:].lower().split(";")
    is_image = kind in _TYPES or kind.startswith("image/")
    if not comma or not is_data_uri(text) or not is_image or parameters[-1:] != ["base64"]:
        raise InputError("not a base64 data URI of an image", remedy="write data:image/png;base64,…")
    digits = "".join(body.split()).rstrip("=")
    try:
        return base64.b64decode(digits + "=" * (-len(digits) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise InputError("broken base64 in a data URI", remedy="encode the image again") from None
