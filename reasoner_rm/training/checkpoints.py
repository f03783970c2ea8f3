"""States to resume a stage from: complete or not there at all, whatever kills the process that writes them.

A state is written under a temporary name, completed by a manifest with the size and checksum of every file, and
renamed. A state with another size or checksum is damaged: it is named, and the one before it is resumed from.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import xxhash

from reasoner_rm import distributed
from reasoner_rm.errors import InputError
from reasoner_rm.log import warn_once
from reasoner_rm.utils.files import storage_errors, sync

MANIFEST = "manifest.json"
RESUME = "make room, and go on with --resume"


class Checkpoints:
    """The states of one stage, in one folder, by step.

    Args:
        every: the number of steps from one state to the next.
        keep: how many of the last ones stay.
    """

    def __init__(self, folder: Path, every: int, keep: int):
        self.folder, self.every, self.keep = folder, every, keep

    def steps(self) -> list[int]:
        """The steps with a complete state, in order. Sizes are compared and no file is read."""
        return [int(state.name) for state in self._states() if not _damage(state, read=False)]

    def latest(self) -> Path | None:
        """The last undamaged state; None if none was written. The first process reads every file. Collective: call on
        every process.

        Raises:
            InputError: all states are damaged.
        """
        found: list[Path | None] = [None]
        with distributed.raise_on_all_ranks():
            if distributed.is_main():
                found = [self._latest_undamaged()]
        return distributed.all_gather(found[0])[0]

    def _latest_undamaged(self) -> Path | None:
        states = self._states()
        for state in reversed(states):
            damage = _damage(state, read=True)
            if not damage:
                return state
            warn_once(f"{state}: damaged ({damage}); the state before it is taken")
        if states:
            remedy = "remove the folder to begin the stage anew"
            raise InputError(f"all {len(states)} states are damaged", file=self.folder, remedy=remedy)
        return None

    @contextlib.contextmanager
    def writing(self, step: int, **metadata: Any) -> Iterator[Path]:
        """A folder for every process to write its part of a state into, which becomes the state of ``step``.

        Args:
            metadata: goes into the manifest.

        Raises:
            StorageError: the disk is full, or the like; what was whole before still is.
        """
        beside = self.folder / f".{step:07d}.writing"
        try:
            with distributed.raise_on_all_ranks(), storage_errors(beside, remedy=RESUME):
                if distributed.is_main():
                    self._tidy()
                    beside.mkdir(parents=True)
            with storage_errors(beside, remedy=RESUME):
                yield beside
            distributed.barrier()
            with distributed.raise_on_all_ranks(), storage_errors(beside, remedy=RESUME):
                if distributed.is_main():
                    self._close(beside, step, metadata)
        except BaseException:
            shutil.rmtree(beside, ignore_errors=True)
            raise

    def _close(self, beside: Path, step: int, metadata: dict[str, Any]) -> None:
        write_manifest(beside, step, metadata)
        for file in (p for p in beside.rglob("*") if p.is_file()):
            sync(file)
        place = self._place(step)
        shutil.rmtree(place, ignore_errors=True)
        beside.rename(place)
        sync(self.folder)
        for later in (state for state in self._states() if int(state.name) > step):
            shutil.rmtree(later)  # damaged: the stage was resumed from a state before it
        for old in self.steps()[: -self.keep]:
            shutil.rmtree(self._place(old))

    def _tidy(self) -> None:
        """Remove what a process that was killed left half-written."""
        for half in self.folder.glob(".*.writing"):
            shutil.rmtree(half)

    def remove(self) -> None:
        """The stage is over: nothing will be resumed from here."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _states(self) -> list[Path]:
        """The folders of states by step, damaged ones too."""
        named = (path for path in self.folder.glob("*") if path.name.isascii() and path.name.isdigit())
        return sorted(named, key=lambda state: int(state.name))

    def _place(self, step: int) -> Path:
        return self.folder / f"{step:07d}"


def write_manifest(state: Path, step: int, metadata: dict[str, Any]) -> None:
    """Complete a state by the list of its files, with their sizes and checksums."""
    files = [p for p in sorted(state.rglob("*")) if p.is_file() and p != state / MANIFEST]
    listed = {str(p.relative_to(state)): [p.stat().st_size, _checksum(p)] for p in files}
    manifest = {"step": step, **metadata, "files": listed}
    manifest["checksum"] = _manifest_checksum(manifest)
    (state / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")


def read_manifest(state: Path) -> dict[str, Any]:
    """The manifest of a state: ``step``, ``files`` with size and checksum, the metadata of the run, and its own
    ``checksum``."""
    manifest: dict[str, Any] = json.loads((state / MANIFEST).read_text(encoding="utf-8"))
    return manifest


def check_compatible(state: Path, **metadata: Any) -> None:
    """Check that a run with this metadata can resume from a state.

    Raises:
        InputError: a value differs; both are named.
    """
    manifest = read_manifest(state)
    for name, value in metadata.items():
        if manifest.get(name) != value:
            raise InputError(
                f"this state was written with {name.replace('_', ' ')} {manifest.get(name)}, now it is {value}",
                file=state,
                remedy="resume with the settings that the run began with, or begin a new run",
            )


def _damage(state: Path, *, read: bool) -> str:
    """What is wrong with a state; empty if nothing is. Without ``read`` files are compared by size."""
    try:
        manifest = read_manifest(state)
        checksum = manifest.pop("checksum")
        if checksum != _manifest_checksum(manifest) or manifest["step"] != int(state.name):
            return f"{MANIFEST} does not have its checksum"
        for name, (size, expected) in manifest["files"].items():
            if (state / name).stat().st_size != size:
                return f"{name} does not have its size"
            if read and _checksum(state / name) != expected:
                return f"{name} does not have its checksum"
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"{MANIFEST} cannot be read or a file is missing: {type(error).__name__}"
    return ""


def _checksum(file: Path) -> str:
    """XXH3 with 128 bits, some gigabytes a second: it detects damage, not forgery."""
    digest = xxhash.xxh3_128()
    with file.open("rb") as data:
        while part := data.read(2**22):
            digest.update(part)
    return digest.hexdigest()


def _manifest_checksum(manifest: dict[str, Any]) -> str:
    return xxhash.xxh3_128_hexdigest(json.dumps(manifest, sort_keys=True).encode())
