"""Equality of formulas by math-verify, in a worker process that is killed when it hangs or runs out of memory.

math-verify's own time limit is a signal, which only works in a main thread.
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import re
import select
import subprocess
import sys
import threading
from fractions import Fraction
from pathlib import Path

from reasoner_rm.errors import InputError
from reasoner_rm.tasks.parsing import boxes

MAX_FORMULA = 300
"""Longer answers are unreadable, in characters."""
MAX_WORDS = 4
"""A formula may hold a unit or an "and"; with more words it is prose."""
_FOREIGN = re.compile(r'["`]|</?\w+>|\[\s*\{')
_WORD = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{2,}")
_BRACE = re.compile(r"(?<!\\)[{}]")
TIMEOUT = 2.0
"""Seconds for one comparison; after them the formulas count as different."""
TOLERANCE = Fraction(1, 1000)
"""Relative difference below which math-verify, which rounds to 6 digits, decides."""
_RATIONAL = re.compile(
    r"([+-]?)(?:(\d{1,18})/(\d{1,18})|\\[dt]?frac\{(\d{1,18})\}\{(\d{1,18})\}|(\d{1,300}(?:\.\d{1,18})?))", re.ASCII
)
START_TIMEOUT = 60.0
"""Seconds for the worker to start: it imports sympy."""


def formula(text: str) -> str | None:
    """The formula of an answer, without `\\boxed{}` and dollar signs around it; None for none, or one too long.

    >>> formula("$\\\\boxed{x^2}$."), formula(" ")
    ('x^2', None)
    """
    if len(text) > 2 * MAX_FORMULA:
        return None
    boxed = boxes(text)
    text = (boxed[-1][0] if boxed else text).strip().rstrip(".").strip("$").strip()
    return text if 0 < len(text) <= MAX_FORMULA and _is_formula(text) else None


def _is_formula(text: str) -> bool:
    """Whether a text is worth parsing: no markup, no prose, no control characters, balanced braces."""
    if _FOREIGN.search(text) or not text.isprintable() or len(_WORD.findall(text)) > MAX_WORDS:
        return False
    depth = 0
    for brace in _BRACE.findall(text):
        depth += 1 if brace == "{" else -1
        if depth < 0:
            return False
    return depth == 0


@functools.lru_cache(maxsize=65536)
def same_formula(answer: str, gold: str) -> bool:
    """Whether math-verify finds two formulas equal; False when one cannot be parsed or the comparison times out.

    Fractions and decimals are compared here, unless they are within `TOLERANCE`.
    """
    if answer == gold:
        return True
    a, b = rational(answer), rational(gold)
    if a is not None and b is not None:
        if a == b:
            return True
        if abs(a - b) > TOLERANCE * max(Fraction(1), abs(b)):
            return False
    return _WORKER.compare(gold, answer)


def rational(text: str) -> Fraction | None:
    r"""A plain fraction or decimal; None for another text.

    >>> rational("-1/2"), rational("\\frac{3}{4}"), rational("0.25"), rational("x")
    (Fraction(-1, 2), Fraction(3, 4), Fraction(1, 4), None)
    """
    match = _RATIONAL.fullmatch(text)
    if match is None:
        return None
    sign, over, under, above, below, plain = match.groups()
    top, bottom = (over, under) if over else (above, below) if above else (plain, "1")
    if int(bottom) == 0:
        return None
    value = Fraction(top) / int(bottom)
    return -value if sign == "-" else value


class _Worker:
    """The worker process, started on first use and ended with this one. Threads take turns."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._owner = 0
        self._lock = threading.Lock()

    def compare(self, gold: str, answer: str) -> bool:
        with self._lock:
            try:
                process = self._started()
                assert process.stdin is not None
                process.stdin.write(json.dumps([gold, answer]) + "\n")
                process.stdin.flush()
                return self._read_line(process, TIMEOUT) == "1"
            except OSError:  # the worker died
                self.end()
                return False

    def _started(self) -> subprocess.Popen[str]:
        """The worker; a new one where there is none, or where this process is a fork of the one that started it."""
        if self._process is None or self._owner != os.getpid() or self._process.poll() is not None:
            script = Path(__file__).with_name("math_worker.py")
            self._process = subprocess.Popen(
                [sys.executable, "-P", str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL, text=True, encoding="utf-8",
            )  # fmt: skip
            self._owner = os.getpid()
            if self._read_line(self._process, START_TIMEOUT) != "ready":
                raise InputError("math-verify does not start", remedy="install it: pip install math-verify")
        return self._process

    def _read_line(self, process: subprocess.Popen[str], seconds: float) -> str:
        """The worker's next line; empty after a timeout, which ends the worker."""
        assert process.stdout is not None
        if not select.select([process.stdout], [], [], seconds)[0]:
            self.end()
            return ""
        return process.stdout.readline().strip()

    def end(self) -> None:
        if self._process is not None and self._owner == os.getpid():
            self._process.kill()
            self._process.wait()
        self._process = None


_WORKER = _Worker()
atexit.register(_WORKER.end)
