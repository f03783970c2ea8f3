"""Unpacking tarballs, also those split into parts; no member is written outside the folder."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from reasoner_rm.data.expansion import DAMAGED, BoundedReader, ExpansionError
from reasoner_rm.errors import InputError, StorageError
from reasoner_rm.utils.files import creating, storage_errors


class ConcatenatedReader(io.RawIOBase):
    """Several files as one stream: `cat part.*`."""

    def __init__(self, files: Sequence[Path]):
        self._files = list(files)
        self._open: BinaryIO | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:  # type: ignore[no-untyped-def]  # any writable buffer
        while self._open or self._files:
            if self._open is None:
                self._open = self._files.pop(0).open("rb")
            if n := self._open.readinto(buffer):  # type: ignore[attr-defined]  # a binary file has it
                return n
            self._open.close()
            self._open = None
        return 0


def unpack(archives: Sequence[Path], out: Path) -> int:
    """Unpack a tarball, or its parts in the order of their names; returns the number of files.

    Raises:
        InputError: no such file, no tarball, a cut-off one, one that expands without bound, a member whose path leads
            outside ``out``.
    """
    for archive in archives:
        if not archive.is_file():
            raise InputError("no such file", file=archive)
    with creating(out):
        out.mkdir(parents=True, exist_ok=True)
    count, name = 0, archives[0]
    parts = io.BufferedReader(ConcatenatedReader(sorted(archives)), 2**20)
    try:
        content = BoundedReader(parts, sum(archive.stat().st_size for archive in archives))
        with tarfile.open(fileobj=content, mode="r|") as tar:
            for member in tar:
                if not (member.isfile() or member.isdir()):
                    raise InputError(f"{member.name[:80]!r} is no file", file=name, remedy="links are not unpacked")
                with storage_errors(out / member.name):
                    tar.extract(member, out, filter="data")
                count += member.isfile()
    except StorageError:
        raise
    except tarfile.FilterError as error:
        raise InputError(f"{error}", file=name, remedy="do not trust this archive") from None
    except ExpansionError as error:
        raise InputError(f"{error}", file=name, remedy="if you trust it, unpack it with tar") from None
    except DAMAGED as error:
        raise InputError(f"not a whole tarball ({error})", file=name, remedy="fetch all of it again") from None
    return count
