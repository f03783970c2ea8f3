"""Opening an image reference of any kind, with errors that name the reference and the reason."""

from __future__ import annotations

import io
import os
import stat
import sys
import tarfile
import warnings
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from reasoner_rm.data.expansion import DAMAGED, BoundedReader
from reasoner_rm.data.parquet import image_bytes
from reasoner_rm.errors import InputError
from reasoner_rm.schema import MediaRef

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFile import ImageFile

MAX_PIXELS = 200_000_000
"""Larger images are refused, as a decompression bomb or a mistake."""
MAX_BYTES = 2**30
"""Of an image file; that of an uncompressed image of `MAX_PIXELS` has less."""
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF", "TGA", "ICO")
"""What is decoded, whatever a file is called. Some of PIL's other formats start external programs: EPS Ghostscript."""

warnings.filterwarnings("ignore", module=r"PIL\.")  # of damaged files; those that cannot be used are errors


def open_image(ref: MediaRef, name: str = "") -> Image:
    """The referenced image as RGB, EXIF orientation applied; transparent parts become white.

    Args:
        name: what an error calls the image; by default its reference.

    Raises:
        InputError: a missing or broken image.
    """
    from PIL import ImageOps

    name = name or (ref if isinstance(ref, str) else "<bytes>" if isinstance(ref, bytes) else "<image>")
    given = read_bytes(ref) if isinstance(ref, str) else ref
    try:
        with identify(given) if isinstance(given, bytes) else nullcontext(given) as image:
            if not 0 < image.width * image.height <= MAX_PIXELS:
                what = "too large" if image.width else "none"
                raise InputError(f"image of {image.width}x{image.height} pixels is {what}", file=name)
            return flatten(ImageOps.exif_transpose(image))
    except InputError:
        raise
    except Exception as error:  # PIL raises many kinds on broken files
        reason = str(error).split(" <")[0]  # not the buffer that it was read from
        raise InputError(f"broken image ({reason})", file=name, remedy="replace the file or drop its row") from None


def identify(data: bytes, formats: tuple[str, ...] = FORMATS) -> ImageFile:
    """An encoded image, its header read and nothing decoded. Raises what PIL raises."""
    from PIL import Image as PILImage

    return PILImage.open(io.BytesIO(data), formats=formats)


def check_header(data: bytes, name: str) -> None:
    """Check by their first bytes that these are an image; nothing is decoded.

    Raises:
        InputError: they are not, naming the reference.
    """
    try:
        with identify(data):
            return
    except Exception:  # PIL raises many kinds
        raise InputError("this is no image", file=name, remedy="correct the path or drop its row") from None


def flatten(image: Image) -> Image:
    """RGB; transparent parts become white, 16 bits are scaled to 8.

    Raises:
        InputError: 32-bit values, whose white level is unknown.
    """
    from PIL import Image as PILImage

    if image.mode in ("I", "F"):
        raise InputError("an image of 32-bit numbers, whose white is unknown", remedy="scale it to 8 bits first")
    if image.mode.startswith("I;16"):
        image = _eight_bit(image)
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = PILImage.new("RGBA", image.size, "white")
        image = PILImage.alpha_composite(white, image)
    return image.convert("RGB")


def _eight_bit(image: Image) -> Image:
    """Grey of 16 bits, of either byte order, scaled to 8; the value that is transparent becomes white."""
    from PIL import Image as PILImage

    values = np.asarray(image)
    grey = (values >> 8).astype(np.uint8)
    grey[values == image.info.get("transparency", -1)] = 255
    return PILImage.fromarray(grey)


def read_bytes(ref: str) -> bytes:
    """The bytes behind a path, ``file.parquet#row/column[/item]`` or ``archive.tar#member``.

    Raises:
        InputError: nothing there, a broken container, more than `MAX_BYTES`, a container that expands without bound,
            or a device or pipe, which may have no end.
    """
    container, _, inside = ref.partition("#")
    try:
        if inside and container.endswith(".parquet"):
            _check_file(container, sys.maxsize)
            return image_bytes(container, inside)
        if inside and ".tar" in Path(container).name:
            return _from_tar(container, inside, _check_file(container, sys.maxsize))
        size = _check_file(ref, MAX_BYTES)
        with open(ref, "rb") as file:
            return file.read(size)
    except (FileNotFoundError, IsADirectoryError):
        remedy = "check the path; in a data file it is relative to that file's folder"
        raise InputError("no such image", file=ref, remedy=remedy) from None
    except (LookupError, ValueError, *DAMAGED) as error:
        raise InputError(f"cannot read image ({error})", file=ref) from None
    except RecursionError:
        raise InputError("cannot read image (links in a circle)", file=ref) from None


def _check_file(path: str, limit: int) -> int:
    """The size of a regular file.

    Raises:
        OSError: no file there, a directory, another kind of file, or one of more than ``limit`` bytes.
    """
    found = os.stat(path)
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(path)
    if not stat.S_ISREG(found.st_mode):
        raise OSError("no regular file")
    if found.st_size > limit:
        raise OSError(f"{found.st_size} bytes, the limit is {limit}")
    return found.st_size


def _from_tar(archive: str, member: str, size: int) -> bytes:
    with open(archive, "rb") as file, BoundedReader(file, size) as content:
        with tarfile.open(fileobj=content, mode="r:") as tar:
            found = tar.extractfile(member)
            if found is None:
                raise KeyError(f"{member} is not a file")
            limit = min(MAX_BYTES, content.limit)
            data = found.read(limit + 1)
        if len(data) > limit:
            raise OSError(f"{member} has more than {limit} bytes, the limit")
        return data
