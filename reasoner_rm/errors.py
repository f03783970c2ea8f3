"""The exceptions that users are meant to read."""

from __future__ import annotations

from pathlib import Path


class InputError(Exception):
    """The input is wrong: one line that says what, where, and what to do. The shell exits with 2 on it."""

    def __init__(self, what: str, *, file: str | Path | None = None, line: int | None = None, remedy: str = ""):
        where = f"{file}:{line}: " if file and line else f"{file}: " if file else ""
        text = where + what.rstrip(".") + (f"; {remedy}" if remedy else "")
        super().__init__(" ".join(text.split()))


class ServiceError(Exception):
    """A service that the work depends on failed or went away: one line. Nothing is wrong with the input, so the same
    command can go on when the service is back. The shell exits with 1 on it."""

    def __init__(self, what: str, *, remedy: str = ""):
        super().__init__(" ".join((what.rstrip(".") + (f"; {remedy}" if remedy else "")).split()))


class RunInterrupted(Exception):  # noqa: N818 - no error: the run ended as it was asked to
    """The run was asked to stop, saved its state, and can be resumed. The shell says so and exits with 0."""
