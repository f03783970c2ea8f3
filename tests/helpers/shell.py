"""The command line, run in this process: a Python process of its own costs seconds of imports."""

from __future__ import annotations

import contextlib
import io
import sys
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import pytest

from reasoner_rm.cli import main


class Outcome(NamedTuple):
    """The exit code of a verb and what it printed."""

    returncode: int
    stdout: str
    stderr: str


def shell(*args: str | Path, stdin: str = "") -> Outcome:
    """Run `reasoner-rm ARGS`. An exception that `main` does not turn into an exit code fails the test."""
    out, err = io.StringIO(), io.StringIO()
    with (
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        mock.patch.object(sys, "stdin", io.StringIO(stdin)),
        pytest.raises(SystemExit) as end,
    ):
        main([*map(str, args)])
    return Outcome(int(end.value.code or 0), out.getvalue(), err.getvalue())


def fails(*args: str | Path, stdin: str = "") -> str:
    """The one line that a wrong input is answered with."""
    done = shell(*args, stdin=stdin)
    assert done.returncode == 2, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and "Traceback" not in done.stderr
    return lines[0]
