"""The report of a run that goes on: written again whenever the run has written something down."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from reasoner_rm.report.page import REPORT, compose, write_page
from reasoner_rm.report.run_reader import PARTS

PAUSE = 10.0
"""Seconds between two looks."""
SHARE = 0.1
"""Of a core: a watch takes no more from the run that it watches."""

Stamp: TypeAlias = tuple[int, int, int]
"""Which file stands under a name, its size, and when it was written, in nanoseconds."""


def watch(
    run: str | Path, *, pause: float = PAUSE, share: float = SHARE, told: Callable[[Path], None] = lambda report: None
) -> None:
    """Keep a run's report up to date until the run is over: it has written its own, after its last record.

    Args:
        pause: seconds between two looks, at least.
        share: the part of the time that is spent on writing, at most.
        told: is told of the report whenever it was written.

    Raises:
        InputError: the directory holds nothing of a run, or no longer does.
    """
    path = Path(run)
    seen: dict[str, Stamp] = {}
    ours: Stamp | None = None
    while True:
        began = time.monotonic()
        records, standing = _records(path), _stamp(path / REPORT)
        over = standing is not None and standing != ours and all(r[2] <= standing[2] for r in records.values())
        if over or records != seen:
            page = compose(path)
            if _stamp(path / REPORT) != standing:
                continue  # the run wrote its own meanwhile: look again
            report = write_page(page, path)
            seen, ours = records, _stamp(report)
            told(report)
        if over:
            return
        time.sleep(max(pause, (time.monotonic() - began) / share))


def _records(run: Path) -> dict[str, Stamp]:
    files = [file for part in PARTS for file in (run / part, *(run / part).glob("*"))]
    return {str(file): stamp for file in files if (stamp := _stamp(file)) is not None}


def _stamp(file: Path) -> Stamp | None:
    try:
        found = os.stat(file)
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
