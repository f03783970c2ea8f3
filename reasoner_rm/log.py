"""What is said to the user once, on standard error, beside the work."""

from __future__ import annotations

import functools
import sys


@functools.cache
def warn_once(line: str) -> None:
    """Print a line; the same line is not said again in this process."""
    print(f"reasoner-rm: {line}", file=sys.stderr, flush=True)
