"""The worker process of math_answers. It reads lines [gold, answer, seconds] as JSON, and writes a line for each: 1 for
equal, 0 for different, or late.

This process imports math-verify once and compares nothing itself. A fork of it makes the comparisons, so that its
caches stay warm. The kernel ends the fork when a comparison has had its seconds of CPU time, also inside a power of big
integers; the next fork costs milliseconds.
"""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import os
import resource
import signal
import sys

MAX_MEMORY = 4 * 2**30
"""In bytes; a formula that needs more is equal to none."""
FIRST = (("\\frac{1}{2}+x", "x^2"), ("\\left(\\frac{3}{4}, -\\sqrt{2}\\right)", "[0,1)"), ("\\sin x", "x=3"))
"""Compared before the first fork: parsers and sympy build their tables on the first formula of a kind."""


def serve() -> None:
    """Keep a fork comparing until the end of the input."""
    from math_verify import parse, verify

    logging.disable(logging.CRITICAL)

    @functools.lru_cache(maxsize=4096)
    def parsed(text: str) -> tuple[object, ...]:
        return tuple(parse(f"\\boxed{{{text}}}", parsing_timeout=None))

    def equal(gold: str, answer: str) -> bool:
        try:
            return bool(verify(list(parsed(gold)), list(parsed(answer)), timeout_seconds=None))
        except (Exception, RecursionError, MemoryError):  # what sympy fails on is not equal
            return False

    for gold, answer in FIRST:
        equal(gold, answer)
    print("ready", flush=True)
    while True:
        fork = os.fork()
        if not fork:
            for line in iter(sys.stdin.readline, ""):
                gold, answer, seconds = json.loads(line)
                signal.setitimer(signal.ITIMER_PROF, seconds)  # its signal ends the process
                found = equal(gold, answer)
                signal.setitimer(signal.ITIMER_PROF, 0)
                print(int(found), flush=True)
            os._exit(0)
        _, status = os.waitpid(fork, 0)
        if not os.WIFSIGNALED(status):  # the end of the input
            return
        print(
            "late" if os.WTERMSIG(status) == signal.SIGPROF else 0, flush=True
        )  # 0: a stack or memory that overflowed


if __name__ == "__main__":
    with contextlib.suppress(ValueError, OSError):  # macOS has no such limit
        resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY, MAX_MEMORY))
    serve()
