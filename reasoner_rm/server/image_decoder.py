"""Decoding of untrusted images: format and size are checked in the header before the pixels are decoded."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from reasoner_rm.data.data_uri import decode_data_uri, is_data_uri
from reasoner_rm.data.fetch_image import fetch, is_remote
from reasoner_rm.data.images import flatten, identify
from reasoner_rm.errors import InputError
from reasoner_rm.server.admission import RequestSlot
from reasoner_rm.server.errors import ApiError
from reasoner_rm.server.limits import IMAGES, Limits

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
"""Accepted formats. Some of PIL's others start external programs."""
BYTES_PER_PIXEL = 8
"""Memory of a pixel while it is decoded: RGBA and its copy without alpha."""


@dataclass(frozen=True, slots=True)
class ImageDecoder:
    """Decodes the images of requests, two at a time, within limits.

    ``urls``: whether http addresses are fetched; addresses in private networks are refused.
    """

    limits: Limits
    urls: bool = False
    _decoding: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(2))

    def images(self, values: Sequence[str | bytes], slot: RequestSlot, limit: int = IMAGES) -> list[Image]:
        """The images of one request, as data URIs, addresses or bytes.

        Raises:
            ApiError: too many images, a too large one, or no image data.
        """
        if len(values) > limit:
            raise ApiError(400, f"{len(values)} images, the limit is {limit}")
        return [self._image(value, i, slot) for i, value in enumerate(values)]

    def _image(self, value: str | bytes, i: int, slot: RequestSlot) -> Image:
        try:
            return self._decode(value if isinstance(value, bytes) else self._fetch(value, slot), slot)
        except InputError as error:
            raise ApiError(400, f"image {i}: {error}") from None

    def _fetch(self, text: str, slot: RequestSlot) -> bytes:
        if is_data_uri(text):
            return decode_data_uri(text)
        if not is_remote(text):
            raise InputError("neither a data URI nor an http address", remedy="write data:image/png;base64,…")
        if not self.urls:
            raise InputError("http addresses are not fetched by this server", remedy="send the image as a data URI")
        data = fetch(text)
        slot.hold(len(data))
        return data

    def _decode(self, data: bytes, slot: RequestSlot) -> Image:
        from PIL import ImageOps

        with self._decoding, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                with identify(data, FORMATS) as image:
                    self._check_size(image.width, image.height)
                    slot.hold(image.width * image.height * BYTES_PER_PIXEL)
                    return flatten(ImageOps.exif_transpose(image))
            except (InputError, ApiError):
                raise
            except Exception as error:  # PIL raises many kinds on broken files
                raise InputError(
                    f"not a complete image ({type(error).__name__})", remedy=f"send {', '.join(FORMATS)}"
                ) from None

    def _check_size(self, width: int, height: int) -> None:
        long, short = max(width, height), min(width, height)
        if width * height > self.limits.pixels or long > self.limits.side:
            raise InputError(f"{width} by {height} pixels exceed the limit", remedy="send a smaller image")
        if short < 1 or long > 200 * short:  # the aspect ratio that image processors accept
            raise InputError(f"{width} by {height} pixels exceed the aspect ratio of 200", remedy="crop it")
