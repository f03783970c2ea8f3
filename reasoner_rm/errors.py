"""Exceptions with one-line messages for users."""

from __future__ import annotations

from pathlib import Path

LONGEST = 2000
"""The most characters of a message; the middle of a longer one, which quotes what somebody wrote, is left out."""


class InputError(Exception):
    """The input is wrong. The message is one line: where, what, and what to do. The shell exits with 2."""

    def __init__(self, what: str, *, file: str | Path | None = None, line: int | None = None, remedy: str = ""):
        where = f"{file}:{line}: " if file and line else f"{file}: " if file else ""
        text = where + what.rstrip(".") + (f"; {remedy}" if remedy else "")
        line_of_text = " ".join(text.split()).encode("utf-8", "backslashreplace").decode()
        super().__init__(_shortened(line_of_text))


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST // 2]} … {text[-LONGEST // 2 :]}"


class ServiceError(Exception):
    """A required service failed or is unreachable. The input is right, so the same command works once the service is
    back. The shell exits with 1."""

    def __init__(self, what: str, *, remedy: str = ""):
        super().__init__(" ".join((what.rstrip(".") + (f"; {remedy}" if remedy else "")).split()))


class StorageError(OSError):
    """A file cannot be written: the disk is full, a quota or a limit of file sizes is reached, or the device fails. The
    input is right, so the same command works once there is room. The shell exits with 1."""

    def __init__(self, what: str, *, file: str | Path | None = None, remedy: str = ""):
        super().__init__(str(InputError(what, file=file, remedy=remedy)))


class RunInterrupted(Exception):  # noqa: N818 - not an error
    """The run was stopped by a signal, saved its state, and can be resumed. The shell exits with 0."""
