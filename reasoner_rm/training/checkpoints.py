"""States to resume a stage from: whole or not there at all, whatever kills the process that writes them.

A state is written beside its place, closed with a marker that lists its files, and renamed. What has a step's
name is whole; a manifest that does not fit its files (an incomplete write) makes the state before it the last.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from reasoner_rm import distributed
from reasoner_rm.errors import InputError

MARKER = "whole.json"


class Checkpoints:
    """The states of one stage, in one folder, by step.

    Args:
        every: the number of steps from one state to the next.
        keep: how many of the last ones stay.
    """

    def __init__(self, folder: Path, every: int, keep: int):
        self.folder, self.every, self.keep = folder, every, keep

    def steps(self) -> list[int]:
        """The steps with a whole state, in order."""
        return sorted(int(p.name) for p in self.folder.glob("[0-9]*") if _is_whole(p))

    def latest(self) -> Path | None:
        """The last whole state."""
        steps = self.steps()
        return self._place(steps[-1]) if steps else None

    @contextlib.contextmanager
    def writing(self, step: int, **facts: Any) -> Iterator[Path]:
        """A folder for every process to write its part of a state into, which becomes the state of ``step``.

        Args:
            facts: go into the marker.

        Raises:
            OSError: the disk is full, or the like; what was whole before still is.
        """
        beside = self.folder / f".{step:07d}.writing"
        if distributed.is_main():
            self._tidy()
            beside.mkdir(parents=True)
        distributed.barrier()
        try:
            yield beside
        except BaseException:
            shutil.rmtree(beside, ignore_errors=True)
            raise
        distributed.barrier()
        if distributed.is_main():
            self._close(beside, step, facts)
        distributed.barrier()

    def _close(self, beside: Path, step: int, metadata: dict[str, Any]) -> None:
        try:
            files = [p for p in sorted(beside.rglob("*")) if p.is_file()]
            for file in files:
                _sync(file)
            sizes = {str(p.relative_to(beside)): p.stat().st_size for p in files}
            marker = beside / MARKER
            marker.write_text(json.dumps({"step": step, **metadata, "files": sizes}, indent=1), encoding="utf-8")
            _sync(marker)
        except BaseException:
            shutil.rmtree(beside, ignore_errors=True)
            raise
        place = self._place(step)
        shutil.rmtree(place, ignore_errors=True)
        beside.rename(place)
        _sync(self.folder)
        for old in self.steps()[: -self.keep]:
            shutil.rmtree(self._place(old))

    def _tidy(self) -> None:
        """Remove what a process that was killed left half-written."""
        for half in self.folder.glob(".*.writing"):
            shutil.rmtree(half)

    def remove(self) -> None:
        """The stage is over: nothing will be resumed from here."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _place(self, step: int) -> Path:
        return self.folder / f"{step:07d}"


def read_manifest(state: Path) -> dict[str, Any]:
    """What a whole state's marker says: ``step``, ``files`` with sizes, and the facts that it was written with."""
    manifest: dict[str, Any] = json.loads((state / MARKER).read_text(encoding="utf-8"))
    return manifest


def check_compatible(state: Path, **facts: Any) -> None:
    """Whether a state can be resumed by a run of these facts.

    Raises:
        InputError: one of them differs, named with both values.
    """
    marker = read_manifest(state)
    for name, value in facts.items():
        if marker.get(name) != value:
            raise InputError(
                f"this state was written with {name.replace('_', ' ')} {marker.get(name)}, now it is {value}",
                file=state,
                remedy="resume with the settings that the run began with, or begin a new run",
            )


def _is_whole(state: Path) -> bool:
    try:
        files = read_manifest(state)["files"]
        return all((state / name).stat().st_size == size for name, size in files.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
