"""Files that are whole or not there, and the errors of a disk that takes no more."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from reasoner_rm.errors import InputError, StorageError

_STORAGE_FAILURES = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
_RUST_ERROR = re.compile(r"\(os error (\d+)\)")
_TORCH_ERRORS = ("PytorchStreamWriter failed", "unexpected pos")


@contextlib.contextmanager
def storage_errors(file: str | Path | None = None, remedy: str = "make room and start again") -> Iterator[None]:
    """A context in which failures of the storage become a `StorageError` that names the file.

    Args:
        file: what is written inside; None takes the name from the error, if it has one.

    Raises:
        StorageError: the disk is full, a limit is reached, or the device fails. Other errors pass through.
    """
    try:
        yield
    except StorageError:
        raise
    except Exception as error:
        reason = storage_failure(error)
        if reason is None:
            raise
        place = file or getattr(error, "filename", None)
        raise StorageError(f"cannot be written ({reason})", file=place, remedy=remedy) from error


def storage_failure(error: BaseException) -> str | None:
    """Why the storage failed, if an exception or one that led to it says so; else None.

    safetensors, tokenizers and torch raise exceptions of their own, without an errno: their messages are read.
    """
    at: BaseException | None = error
    by_torch = False
    while at is not None:
        code = at.errno if isinstance(at, OSError) else None
        if code is None and (found := _RUST_ERROR.search(str(at))):
            code = int(found[1])
        if code in _STORAGE_FAILURES:
            return os.strerror(code)
        by_torch = by_torch or (isinstance(at, RuntimeError) and any(text in str(at) for text in _TORCH_ERRORS))
        at = at.__cause__ or (None if at.__suppress_context__ else at.__context__)
    return "torch cannot write all of it" if by_torch else None


@contextlib.contextmanager
def creating(file: str | Path) -> Iterator[None]:
    """A context in which a file or folder is made.

    Raises:
        InputError: it cannot be made there.
        StorageError: there is no room for it.
    """
    with storage_errors(file):
        try:
            yield
        except OSError as error:
            if storage_failure(error):
                raise
            raise InputError(f"cannot be written ({error.strerror})", file=file, remedy="give another place") from None


@contextlib.contextmanager
def atomic_path(file: str | Path, *, durable: bool = True) -> Iterator[Path]:
    """A temporary file beside another, which takes its place at the end. After an error nothing is left of it.

    Args:
        durable: wait until it is on the disk; for many small files that takes most of the time.

    Raises:
        InputError: no file can be made there.
        StorageError: there is no room for it.
    """
    path = Path(file)
    with creating(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=path.suffix)
    os.close(handle)
    with storage_errors(path):
        try:
            yield Path(name)
            if durable:
                sync(Path(name))
            os.chmod(name, 0o644)
            os.replace(name, path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


@contextlib.contextmanager
def atomic_write(file: str | Path) -> Iterator[IO[str]]:
    """A text file that appears under its name only once it is whole. See `atomic_path` for what it raises."""
    with atomic_path(file) as beside, beside.open("w", encoding="utf-8") as out:
        yield out


@contextlib.contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """A temporary folder beside another, which takes its place at the end. After an error nothing is left of it; what a
    process that was killed left is removed by the next.

    Raises:
        InputError: no folder can be made there.
        StorageError: there is no room for it.
    """
    beside = folder.with_name(f".{folder.name}.writing")
    shutil.rmtree(beside, ignore_errors=True)
    with creating(folder):
        beside.mkdir(parents=True)
    with storage_errors(folder):
        try:
            yield beside
        except BaseException:
            shutil.rmtree(beside, ignore_errors=True)
            raise
        if folder.exists():
            shutil.rmtree(folder)
        beside.rename(folder)


def link_or_copy(source: str | Path, target: str | Path) -> None:
    """Give a file a second name (a hard link); where the file system cannot, copy it. For files that are never changed
    in place."""
    try:
        os.link(os.path.realpath(source), target)
    except OSError:
        shutil.copyfile(source, target)


def append_line(out: io.FileIO, line: bytes) -> None:
    """Append a line to an unbuffered file: all of it, or nothing if there is no room.

    Raises:
        OSError: it cannot be written.
    """
    end = out.seek(0, os.SEEK_END)
    try:
        write_all(out, line)
    except OSError:
        out.truncate(end)
        raise


def write_all(out: io.FileIO, data: bytes) -> None:
    """Write to an unbuffered file, which may take a part at a time."""
    rest = memoryview(data)
    while rest:
        rest = rest[out.write(rest) :]


def drop_half_line(out: io.FileIO) -> bool:
    """Cut off what follows the last line end of a file, which a killed process left; whether there was anything."""
    end = size = out.seek(0, os.SEEK_END)
    while end:
        start = max(0, end - 4096)
        out.seek(start)
        found = out.read(end - start).rfind(b"\n")
        if found >= 0:
            end = start + found + 1
            break
        end = start
    if end < size:
        out.truncate(end)
    return end < size


def sync(path: Path) -> None:
    """Wait until a file, or a folder's names, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
