"""How far a compressed file may expand: a small one of a stranger can expand without bound.

Images and texts expand by less than a hundred; a kilobyte of zeros in gzip by a thousand, in xz by seven thousand.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zlib
from collections.abc import Callable, Mapping
from typing import Any

RATIO, ALLOWANCE = 200, 64 * 2**20
"""A file of n bytes expands to at most RATIO · n + ALLOWANCE bytes."""
DAMAGED = (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, OSError)
"""What reading a damaged archive raises."""
_OPENERS: Mapping[bytes, Callable[[Any], Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\x00": lzma.open,
}
"""By the first bytes of what they open."""


class ExpansionError(OSError):
    """A file expands to more than is allowed."""


def most_expanded(size: int) -> int:
    """The most bytes that a file of ``size`` bytes may expand to."""
    return RATIO * size + ALLOWANCE


def check_expansion(expanded: int, size: int) -> None:
    """Check the number of bytes that a file of ``size`` bytes expands to.

    Raises:
        ExpansionError: it is more than `most_expanded`.
    """
    if expanded > most_expanded(size):
        raise ExpansionError(f"{size} bytes expand to more than {most_expanded(size)}, the limit")


class BoundedReader(io.RawIOBase):
    """The content of a file, decompressed if it is compressed by gzip, bzip2 or xz.

    Args:
        file: at its beginning.
        size: its size in bytes.

    Raises:
        ExpansionError: on the way to a place that the file may not expand to.
    """

    def __init__(self, file: io.BufferedReader[Any], size: int):
        start = file.peek(6)[:6]
        unpack = next((opener for magic, opener in _OPENERS.items() if start.startswith(magic)), None)
        self._content = file if unpack is None else unpack(file)
        self._size, self._at = size, 0
        self.limit = size if unpack is None else most_expanded(size)
        """The most bytes that it holds."""

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def read(self, size: int = -1) -> bytes:
        """At most ``size`` bytes, however large a damaged header makes that."""
        data = self._content.read(min(size, self.limit + 1) if size >= 0 else self.limit + 1)
        self._at += len(data)
        check_expansion(self._at, self._size)
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place from the beginning; a compressed file is decompressed up to there."""
        check_expansion(offset, self._size)
        self._at = self._content.seek(offset, whence)
        return self._at
