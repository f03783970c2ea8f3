"""Whether two formulas say the same. math-verify judges, in a child process: it may hang, or want all memory.

Its own time limit is an alarm, which only a main thread may set; here the child is ended and started anew.
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
"""Longer answers are not read, in characters."""
MAX_WORDS = 4
"""A formula may hold a unit or an "and"; more words are prose."""
_FOREIGN = re.compile(r'["`]|</?\w+>|\[\s*\{')
_WORD = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{2,}")
_BRACE = re.compile(r"(?<!\\)[{}]")
DEADLINE = 2.0
"""Seconds for one comparison; what takes longer is not the same."""
ROUNDING = Fraction(1, 1000)
"""Relative; math-verify itself rounds to 6 digits."""
_RATIONAL = re.compile(
    r"([+-]?)(?:(\d{1,18})/(\d{1,18})|\\[dt]?frac\{(\d{1,18})\}\{(\d{1,18})\}|(\d{1,300}(?:\.\d{1,18})?))", re.ASCII
)
STARTING = 60.0
"""Seconds for the child's first word: it imports sympy."""


def formula(text: str) -> str | None:
    """The formula of an answer, without `\\boxed{}` and dollar signs around it; None for none, or one too long.

    >>> formula("$\\\\boxed{x^2}$."), formula(" ")
    ('x^2', None)
    """
    if len(text) > 2 * MAX_FORMULA:
        return None
    found = boxes(text)
    text = (found[-1][0] if found else text).strip().rstrip(".").strip("$").strip()
    return text if 0 < len(text) <= MAX_FORMULA and _is_formula(text) else None


def _is_formula(text: str) -> bool:
    """Whether reading is worth the time: no data, no prose, no control signs, and every brace has its partner."""
    if _FOREIGN.search(text) or not text.isprintable() or len(_WORD.findall(text)) > MAX_WORDS:
        return False
    depth = 0
    for brace in _BRACE.findall(text):
        depth += 1 if brace == "{" else -1
        if depth < 0:
            return False
    return depth == 0


@functools.lru_cache(maxsize=65536)
def same_formula(said: str, gold: str) -> bool:
    """Whether math-verify takes two formulas for equal; False for what cannot be read or takes too long.

    Plain fractions and decimals are compared here, unless they are so near that rounding decides.
    """
    if said == gold:
        return True
    a, b = rational(said), rational(gold)
    if a is not None and b is not None:
        if a == b:
            return True
        if abs(a - b) > ROUNDING * max(Fraction(1), abs(b)):
            return False
    return _CHILD.ask(gold, said)


def rational(text: str) -> Fraction | None:
    r"""
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


class _Child:
    """One child process, started when it is first asked, ended with this one. Threads ask one after the other."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._owner = 0
        self._lock = threading.Lock()

    def ask(self, gold: str, said: str) -> bool:
        with self._lock:
            try:
                process = self._running()
                assert process.stdin is not None
                process.stdin.write(json.dumps([gold, said]) + "\n")
                process.stdin.flush()
                return self._line(process, DEADLINE) == "1"
            except OSError:  # it died
                self.end()
                return False

    def _running(self) -> subprocess.Popen[str]:
        """The child; a new one where there is none, or where this process is a fork of the one that started it."""
        if self._process is None or self._owner != os.getpid() or self._process.poll() is not None:
            script = Path(__file__).with_name("math_worker.py")
            self._process = subprocess.Popen(
                [sys.executable, "-P", str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL, text=True, encoding="utf-8",
            )  # fmt: skip
            self._owner = os.getpid()
            if self._line(self._process, STARTING) != "ready":
                raise InputError("math-verify does not start", remedy="install it: pip install math-verify")
        return self._process

    def _line(self, process: subprocess.Popen[str], seconds: float) -> str:
        """The child's next line; empty when it took too long, and then it is ended."""
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


_CHILD = _Child()
atexit.register(_CHILD.end)
