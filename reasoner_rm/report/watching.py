"""A live report: `report.html` is written again whenever the files of a run change, until the run is over."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from reasoner_rm.report.page import REPORT, compose, write_page
from reasoner_rm.report.run_reader import RUN_FILES

POLL_SECONDS = 10.0
"""Seconds between two checks of the files."""
MAX_LOAD = 0.1
"""The largest share of time spent on composing pages, so that the run is not slowed down."""

FileStamp: TypeAlias = tuple[int, int, int]
"""Inode, size in bytes and modification time in nanoseconds."""


def watch(
    run: str | Path,
    *,
    poll_seconds: float = POLL_SECONDS,
    max_load: float = MAX_LOAD,
    on_write: Callable[[Path], None] = lambda report: None,
) -> None:
    """Keep a run's report up to date until the run is over.

    A run is over when it has written a report of its own that is newer than all its records.

    Args:
        poll_seconds: the least time between two checks.
        max_load: the largest share of time spent on composing pages.
        on_write: called with the report's path after each write.

    Raises:
        InputError: not a run directory, or no longer one.
    """
    path = Path(run)
    seen: dict[str, FileStamp] = {}
    written: FileStamp | None = None
    while True:
        start = time.monotonic()
        records, report_stamp = _record_stamps(path), _stamp(path / REPORT)
        over = (
            report_stamp is not None
            and report_stamp != written
            and all(record[2] <= report_stamp[2] for record in records.values())
        )
        if over or records != seen:
            page = compose(path)
            if _stamp(path / REPORT) != report_stamp:
                continue  # the run has written its own report in the meantime
            report = write_page(page, path)
            seen, written = records, _stamp(report)
            on_write(report)
        if over:
            return
        time.sleep(max(poll_seconds, (time.monotonic() - start) / max_load))


def _record_stamps(run: Path) -> dict[str, FileStamp]:
    files = [file for part in RUN_FILES for file in (run / part, *(run / part).glob("*"))]
    return {str(file): stamp for file in files if (stamp := _stamp(file)) is not None}


def _stamp(file: Path) -> FileStamp | None:
    try:
        stat = os.stat(file)
    except FileNotFoundError:
        return None
    return stat.st_ino, stat.st_size, stat.st_mtime_ns
