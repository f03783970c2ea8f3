"""Images that strangers send: encoded in the request, small by their header before they are unpacked."""

from __future__ import annotations

import io
import threading
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from reasoner_rm.data.fetch_image import fetch, is_remote
from reasoner_rm.data.images import flatten
from reasoner_rm.errors import InputError
from reasoner_rm.judge.image_inputs import from_data_uri
from reasoner_rm.server.admission import RequestSlot
from reasoner_rm.server.errors import ApiError
from reasoner_rm.server.limits import IMAGES, Limits

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
"""What is unpacked. PIL knows more, some of which starts other programs."""
BYTES_A_PIXEL = 8
"""What a pixel may hold while it is unpacked: RGBA and its flattened copy."""


@dataclass(frozen=True, slots=True)
class ImageDecoder:
    """Opens the images of requests, within limits.

    urls: whether addresses are fetched; private networks never are.
    """

    limits: Limits
    urls: bool = False
    _unpacking: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(2))

    def images(self, given: Sequence[str | bytes], ticket: RequestSlot, most: int = IMAGES) -> list[Image]:
        """The images of one request, as data URIs, addresses or bytes.

        Raises:
            Refusal: too many, too large, or no images.
        """
        if len(given) > most:
            raise ApiError(400, f"{len(given)} images, {most} are allowed")
        return [self._image(value, i, ticket) for i, value in enumerate(given)]

    def _image(self, value: str | bytes, i: int, ticket: RequestSlot) -> Image:
        try:
            return self._unpack(value if isinstance(value, bytes) else self._bytes(value), ticket)
        except InputError as error:
            raise ApiError(400, f"image {i}: {error}") from None

    def _bytes(self, text: str) -> bytes:
        if text.startswith("data:"):
            return from_data_uri(text)
        if not is_remote(text):
            raise InputError("neither a data URI nor an address", remedy="write data:image/png;base64,…")
        if not self.urls:
            raise InputError("addresses are not fetched here", remedy="send the image as a data URI")
        return fetch(text)

    def _unpack(self, data: bytes, ticket: RequestSlot) -> Image:
        from PIL import Image as PILImage
        from PIL import ImageOps

        with self._unpacking, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                with PILImage.open(io.BytesIO(data), formats=FORMATS) as image:
                    self._check_size(image.width, image.height)
                    ticket.hold(image.width * image.height * BYTES_A_PIXEL)
                    return flatten(ImageOps.exif_transpose(image))
            except (InputError, ApiError):
                raise
            except Exception as error:  # PIL raises many kinds on broken files
                raise InputError(f"no whole image ({type(error).__name__})", remedy=", ".join(FORMATS)) from None

    def _check_size(self, width: int, height: int) -> None:
        long, short = max(width, height), min(width, height)
        if width * height > self.limits.pixels or long > self.limits.side:
            raise InputError(f"{width} by {height} pixels are too many", remedy="send a smaller image")
        if short < 1 or long > 200 * short:  # the processors' own bound
            raise InputError(f"{width} by {height} pixels are no image but a strip", remedy="crop it")
