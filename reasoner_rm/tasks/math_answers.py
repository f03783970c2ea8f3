"""Equality of formulas by math-verify, in a worker process with limits of CPU time and memory.

math-verify's own time limit is a signal, which only works in a main thread.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import re
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
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
EACH = 0.2
"""Seconds of CPU time that each comparison of a batch has; most take 0.01 to 0.1."""
REST = 2.0
"""Seconds of CPU time that the comparisons that need more share equally; what needs still more is different."""
TOLERANCE = Fraction(1, 1000)
"""Relative difference below which math-verify, which rounds to 6 digits, decides."""
_RATIONAL = re.compile(
    r"([+-]?)(?:(\d{1,18})/(\d{1,18})|\\[dt]?frac\{(\d{1,18})\}\{(\d{1,18})\}|(\d{1,300}(?:\.\d{1,18})?))", re.ASCII
)
PATIENCE = 60.0
"""Seconds of wall time for the worker to start, which imports sympy, or to answer when other processes have the CPU."""
MAX_KNOWN = 65536
"""Comparisons whose results are kept."""


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


_known: dict[tuple[str, str], bool] = {}


def same_formula(answer: str, gold: str) -> bool:
    """Whether math-verify finds two formulas equal: a batch of one, see :func:`same_formulas`."""
    return same_formulas([(answer, gold)])[0]


def same_formulas(pairs: Sequence[tuple[str, str]]) -> list[bool]:
    """Whether math-verify finds each answer equal to its gold; False where a formula cannot be parsed.

    The batch has one time limit, `EACH` for every pair and `REST` for all that need more, and every pair has its
    `EACH`, whatever the others are. Fractions and decimals are compared here, unless they are within `TOLERANCE`.
    """
    found = {pair: _known.get(pair, _by_value(*pair)) for pair in pairs}
    open_pairs = [pair for pair, equal in found.items() if equal is None]
    if open_pairs:
        compared = _WORKER.compare(open_pairs)
        if len(_known) + len(compared) > MAX_KNOWN:
            _known.clear()
        _known.update(compared)
        found |= compared
    return [bool(found[pair]) for pair in pairs]


def _by_value(answer: str, gold: str) -> bool | None:
    """Equality of the same text, or of two plain numbers; None: math-verify decides."""
    if answer == gold:
        return True
    a, b = rational(answer), rational(gold)
    if a is None or b is None or a == b:
        return None if a is None or b is None else True
    return False if abs(a - b) > TOLERANCE * max(Fraction(1), abs(b)) else None


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

    def compare(self, pairs: Sequence[tuple[str, str]]) -> dict[tuple[str, str], bool]:
        """Whether each answer equals its gold. Pairs cut off after `EACH` seconds are tried again with a share of
        `REST`."""
        with self._lock:
            found = {pair: self._compare(*pair, EACH) for pair in pairs}
            late = [pair for pair, equal in found.items() if equal is None]
            found |= {pair: self._compare(*pair, EACH + REST / len(late)) for pair in late}
            return {pair: bool(equal) for pair, equal in found.items()}

    def _compare(self, answer: str, gold: str, seconds: float) -> bool | None:
        """Whether an answer equals the gold; None after so many seconds of CPU time."""
        try:
            process = self._started()
            assert process.stdin is not None
            process.stdin.write(json.dumps([gold, answer, seconds]) + "\n")
            process.stdin.flush()
            said = self._read_line(process)
        except OSError:  # the worker died
            self.end()
            return False
        return None if said == "late" else said == "1"

    def _started(self) -> subprocess.Popen[str]:
        """The worker; a new one where there is none, or where this process is a fork of the one that started it."""
        if self._process is None or self._owner != os.getpid() or self._process.poll() is not None:
            script = Path(__file__).with_name("math_worker.py")
            self._process = subprocess.Popen(
                [sys.executable, "-P", str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL, text=True, encoding="utf-8", start_new_session=True,
            )  # fmt: skip
            self._owner = os.getpid()
            if self._read_line(self._process) != "ready":
                raise InputError("math-verify does not start", remedy="install it: pip install math-verify")
        return self._process

    def _read_line(self, process: subprocess.Popen[str]) -> str:
        """The worker's next line; empty when it does not come, which ends the worker."""
        assert process.stdout is not None
        if not select.select([process.stdout], [], [], PATIENCE)[0]:
            self.end()
            return ""
        return process.stdout.readline().strip()

    def end(self) -> None:
        if self._process is not None and self._owner == os.getpid():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)  # the fork too
            self._process.wait()
        self._process = None


_WORKER = _Worker()
atexit.register(_WORKER.end)
