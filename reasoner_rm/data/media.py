"""From the value of an image column to a reference: a path in the dataset's folder, a cell of a parquet file, a copy.

Values are not trusted: a path cannot leave the dataset's folder, and a URL is fetched only on request and never from a
private network.
"""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reasoner_rm.data.data_uri import decode_data_uri, is_data_uri
from reasoner_rm.data.fetch_image import fetch, is_remote
from reasoner_rm.data.parquet import Stored
from reasoner_rm.errors import InputError
from reasoner_rm.utils.files import atomic_path

_KINDS = ((b"\xff\xd8\xff", "jpg"), (b"\x89PNG", "png"), (b"GIF8", "gif"), (b"RIFF", "webp"), (b"BM", "bmp"))


class Media:
    """Resolves the images and videos of one dataset.

    Args:
        root: the folder that relative paths are taken from, and that no path may leave.
        keep: the folder for images without a file of their own: bytes of a streamed row, a data URI, a fetched URL.
        remote: whether URLs may be fetched.
    """

    def __init__(self, root: Path, keep: Path, remote: bool = False):
        self.root, self.keep, self.remote = str(root), keep, remote

    def image(self, value: Any) -> str:
        """A reference that `open_image` accepts.

        Raises:
            InputError: an empty value, a path that leaves the folder, a broken data URI, a URL that may not be fetched.
        """
        match value:
            case Stored():
                return value
            case str() if is_data_uri(value):
                return self._stored(decode_data_uri(value))
            case str() if is_remote(value):
                return self._download(value)
            case str() if value.strip():
                return inside(self.root, value)
            case bytes() if value:
                return self._stored(value)
            case {"bytes": bytes() as data} if data:
                return self._stored(data)
            case {"path": str() as path} if path:
                return self.image(path)
        raise InputError(f"no image but {_short(value)}", remedy="give a path, or an image's bytes")

    def video(self, value: Any) -> str | tuple[str, ...]:
        """A folder of frames, or the frames.

        Raises:
            InputError: as for images.
        """
        if isinstance(value, (list, tuple)):
            return tuple(self.image(frame) for frame in value)
        if not isinstance(value, str) or not value.strip():
            raise InputError(f"no video but {_short(value)}", remedy="give a folder of frames, or a list of them")
        if is_remote(value):
            raise InputError("a video's address cannot be fetched", remedy="extract its frames and give their folder")
        path = inside(self.root, value)
        frames = os.path.splitext(path)[0]  # films are not decoded: their frames are separate files
        return frames if not os.path.isdir(path) and os.path.isdir(frames) else path

    def has(self, folder: str) -> bool:
        """Whether the dataset has such a folder."""
        return os.path.isdir(inside(self.root, folder))

    def _download(self, address: str) -> str:
        if not self.remote:
            what = f"the image is an address: {address:.80}"
            raise InputError(what, remedy="--remote fetches it, --images DIR takes copies from disk")
        name = hashlib.sha256(address.encode()).hexdigest()[:24]
        known = next(self.keep.glob(f"{name}.*"), None) if self.keep.is_dir() else None
        return str(known) if known else self._write(name, fetch(address))

    def _stored(self, data: bytes) -> str:
        return self._write(hashlib.sha256(data).hexdigest()[:24], data)

    def _write(self, name: str, data: bytes) -> str:
        suffix = next((suffix for start, suffix in _KINDS if data.startswith(start)), "img")
        file = self.keep / f"{name}.{suffix}"
        if not file.exists():
            with atomic_path(file, durable=False) as beside:
                beside.write_bytes(data)
        return str(file)


def inside(root: str, path: str) -> str:
    """The path below a folder. A path that leaves it is refused by its text alone.

    Raises:
        InputError: it leaves the folder, or contains a NUL.
    """
    if "\x00" in path:
        raise InputError("a path holds a NUL character")
    whole, top = os.path.normpath(os.path.join(root, path)), _normal(root)
    if top != os.curdir and whole != top and not whole.startswith(top.rstrip(os.sep) + os.sep):
        raise InputError(f"the path {path[:80]!r} leaves the data folder", remedy="--images DIR names another folder")
    if top == os.curdir and (os.path.isabs(whole) or whole.split(os.sep)[0] == os.pardir):
        raise InputError(f"the path {path[:80]!r} leaves the data folder", remedy="--images DIR names another folder")
    return whole


_normal = functools.lru_cache(maxsize=16)(os.path.normpath)


def _short(value: Any) -> str:
    return "nothing" if value is None or isinstance(value, Mapping) or value in ("", b"") else f"{value!r:.60}"
