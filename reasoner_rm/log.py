"""Warnings on standard error."""

from __future__ import annotations

import functools
import sys


@functools.cache
def warn_once(line: str) -> None:
    """Print a warning, each only once per process."""
    print(f"reasoner-rm: {line}", file=sys.stderr, flush=True)
