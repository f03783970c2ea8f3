"""Images in the forms that callers hold them in, converted to references that `data.images` opens."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from reasoner_rm.data.data_uri import decode_data_uri, is_data_uri
from reasoner_rm.data.fetch_image import fetch, is_remote
from reasoner_rm.data.images import open_image, read_bytes
from reasoner_rm.errors import InputError
from reasoner_rm.schema import MediaRef

if TYPE_CHECKING:
    from PIL.Image import Image

ImageLike: TypeAlias = Any
"""A path, encoded bytes, a data URI, an http address where allowed, a PIL image, a float tensor [3, H, W] in
0..1, or a uint8 array [H, W, 3]."""


def as_media(value: ImageLike, *, urls: bool = False) -> MediaRef:
    """One image as a reference. Files are read at once, so that later changes of a file do not matter.

    Args:
        urls: whether http addresses are fetched; addresses in private networks are refused.

    Raises:
        InputError: another type, a missing file, an address that may not be fetched, floats outside 0..1.
    """
    match value:
        case bytes():
            return value
        case Path():
            return read_bytes(str(value))
        case str() if is_data_uri(value):
            return decode_data_uri(value)
        case str() if is_remote(value):
            if not urls:
                raise InputError(f"{value[:60]!r} is an address", remedy="set urls=True, or give the image itself")
            return fetch(value)
        case str():
            return read_bytes(value)
    if hasattr(value, "convert"):
        return open_image(value)
    if hasattr(value, "shape"):
        return from_array(value)
    raise InputError(f"{type(value).__name__} is not an image", remedy="give a path, bytes, a PIL image or an array")


def as_images(values: Any, *, urls: bool = False) -> list[MediaRef]:
    """Several images: a sequence of anything that :func:`as_media` takes, or a batch: a float tensor [N, 3, H, W] or
    a uint8 array [N, H, W, 3].

    Raises:
        InputError: as for one image, with its index.
    """
    if isinstance(values, (str, bytes, Path)) or hasattr(values, "convert"):
        raise InputError("one image instead of a list", remedy="give a list of images")
    if hasattr(values, "shape") and len(values.shape) != 4:
        raise InputError(f"images of shape {tuple(values.shape)}", remedy="give [N, 3, H, W] or [N, H, W, 3]")
    media = []
    for i, value in enumerate(values):
        try:
            media.append(as_media(value, urls=urls))
        except InputError as error:
            raise InputError(f"image {i}: {error}") from None
    return media


def from_array(value: Any) -> Image:
    """A float tensor [3, H, W] in 0..1, or a uint8 array [H, W, 3], as an image.

    Raises:
        InputError: another shape or type, or floats outside 0..1.
    """
    from PIL import Image as PILImage

    floats = hasattr(value, "detach")
    array = value.detach().float().cpu().numpy() if floats and value.is_floating_point() else np.asarray(value)
    if array.dtype.kind == "f" and array.ndim == 3 and array.shape[0] == 3 and array.size:
        if not np.isfinite(array).all() or array.min() < -0.01 or array.max() > 1.01:
            raise InputError(f"floats from {array.min():.3g} to {array.max():.3g}", remedy="scale images to 0..1")
        array = (array.clip(0, 1) * 255).round().astype(np.uint8).transpose(1, 2, 0)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or 0 in array.shape:
        raise InputError(
            f"an array of {array.dtype} and shape {tuple(array.shape)}",
            remedy="give floats [3, H, W] in 0..1 or uint8 [H, W, 3]",
        )
    return PILImage.fromarray(np.ascontiguousarray(array))
