"""Advisory locks: of two processes that write to the same place, one is refused. A lock dies with its process."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import io
import os
import weakref
from collections.abc import Iterator
from pathlib import Path

from reasoner_rm.errors import InputError
from reasoner_rm.log import warn_once
from reasoner_rm.utils.files import creating

LOCK = ".lock"
"""The lock of a folder, inside it."""


@contextlib.contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """A context in which no other process writes to a folder, if all of them enter it. See `_held`."""
    with _held(folder / LOCK, folder, wait=False):
        yield


@contextlib.contextmanager
def file_lock(file: Path, *, wait: bool = False) -> Iterator[None]:
    """The same of one file, or of a folder that is replaced as a whole; the lock lies beside it. See `_held`."""
    with _held(file.with_name(f".{file.name}{LOCK}"), file, wait):
        yield


@contextlib.contextmanager
def _held(lock: Path, what: Path, wait: bool) -> Iterator[None]:
    """A context that holds a lock. The lock's file is removed at the end, and so are the folders that were made for it
    if nothing else is in them.

    Args:
        wait: until another process is done, instead of raising.

    Raises:
        InputError: another process writes there, or the folder cannot be written to.
    """
    made = [folder for folder in lock.parents if not folder.exists()]
    out = open_locked(lock, what=what, wait=wait)
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)
        out.close()
        with contextlib.suppress(OSError):  # the first that is not empty
            for folder in made:
                folder.rmdir()


def open_locked(file: Path, *, what: Path | None = None, wait: bool = False) -> io.FileIO:
    """Open a file to read and to append to, unbuffered; until it is closed, nobody else can open it in this way.

    Args:
        what: the name in the error; the file's own by default.
        wait: until it is closed elsewhere, instead of raising.

    Raises:
        InputError: it is open in this way already, or cannot be opened.
    """
    while True:
        with creating(what or file):
            file.parent.mkdir(parents=True, exist_ok=True)
            out = io.FileIO(file, "a+")
        try:
            fcntl.flock(out, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except OSError as error:
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                out.close()
                remedy = "wait for it, or give another place"
                raise InputError("another process is writing here", file=what or file, remedy=remedy) from None
            warn_once(f"{file}: this file system has no locks ({error.strerror}): start one process at a time")
            return out
        if _is_at(file, out):
            _OPEN.add(out)
            return out
        out.close()  # it was removed or replaced in between


_OPEN: weakref.WeakSet[io.FileIO] = weakref.WeakSet()


def _close_in_child() -> None:
    """A forked process that outlives this one must not keep its locks."""
    for out in list(_OPEN):
        out.close()


os.register_at_fork(after_in_child=_close_in_child)


def _is_at(file: Path, opened: io.FileIO) -> bool:
    """Whether a file is still found under its name."""
    try:
        return os.path.samestat(os.stat(file), os.fstat(opened.fileno()))
    except FileNotFoundError:
        return False
