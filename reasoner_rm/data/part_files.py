"""Output in parts, so that a killed build can be resumed.

A part is the result of a fixed number of source rows. Its files are written first and its manifest last; a part without
a manifest is discarded. The finished output is the concatenation of the parts, with or without interruptions.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from reasoner_rm.errors import InputError
from reasoner_rm.log import warn_once
from reasoner_rm.utils.files import atomic_write, storage_errors
from reasoner_rm.utils.parse_files import parse_object


class Parts:
    """The folder of an unfinished build.

    Args:
        folder: exists while the build is unfinished, and only then.
        plan: identifies the build; parts of another plan are not resumed.
        check: raises LookupError, TypeError or ValueError where a manifest is none of this build's.
        anew: delete the parts of another plan.

    Raises:
        InputError: there are parts of another plan.
    """

    def __init__(
        self, folder: Path, plan: Mapping[str, Any], check: Callable[[dict[str, Any]], object], anew: bool = False
    ):
        self.folder, self._next = folder, 0
        remove_stale(folder)
        noted = folder / "plan.json"
        text = json.dumps(plan, ensure_ascii=False, indent=1, sort_keys=True, default=str)
        if noted.is_file() and noted.read_bytes() != text.encode():
            if not anew:
                what = "another build was stopped here, with other settings or data"
                raise InputError(what, file=folder, remedy="finish it with its own command, or --overwrite it")
            self.remove()
        if not noted.is_file():
            with atomic_write(noted) as out:
                out.write(text)
        self.manifests = list(self._finished(check))

    def _finished(self, check: Callable[[dict[str, Any]], object]) -> Iterator[dict[str, Any]]:
        """The manifests up to the first that is missing or damaged: from there on the parts are made again."""
        while (file := self._name(self._next, "manifest.json")).is_file():
            try:
                manifest = parse_object(file.read_bytes())
                check(manifest)
            except (LookupError, TypeError, ValueError) as error:
                warn_once(f"{file}: damaged ({error}); the build goes on from the part before it")
                return
            self._next += 1
            yield manifest

    def _name(self, number: int, name: str) -> Path:
        return self.folder / f"{number:05d}.{name}"

    @contextlib.contextmanager
    def part(self) -> Iterator[Part]:
        """A context for the next part; it counts when the context ends without an error."""
        number = self._next
        with contextlib.ExitStack() as files:
            made = Part(self, number, files)
            yield made
        with atomic_write(self._name(number, "manifest.json")) as out:
            json.dump(made.manifest, out, ensure_ascii=False)
        self.manifests.append(made.manifest)
        self._next = number + 1

    def join(self, name: str, out: Path) -> None:
        """Concatenate the parts of that name into one file, in order."""
        half = self.folder / f"{out.name}.whole"
        with storage_errors(out), half.open("wb") as whole:
            for number in range(self._next):
                if (part := self._name(number, name)).is_file():
                    with part.open("rb") as lines:
                        shutil.copyfileobj(lines, whole, 2**20)
            whole.flush()
            os.fsync(whole.fileno())
        half.replace(out)

    def spread(self, name: str, out: Path) -> list[Path]:
        """A file for each part of that name: `train-00000-of-00012.jsonl`."""
        parts = [p for n in range(self._next) if (p := self._name(n, name)).is_file()]
        names = [out.with_name(f"{out.stem}-{i:05d}-of-{len(parts):05d}{out.suffix}") for i in range(len(parts))]
        for part, file in zip(parts, names, strict=True):
            with storage_errors(file):
                shutil.copyfile(part, half := self.folder / f"{file.name}.whole")
            half.replace(file)
        return names

    def names(self) -> list[str]:
        """The names of the files in the parts."""
        return sorted({name for manifest in self.manifests for name in manifest.get("files", ())})

    def remove(self) -> None:
        """Finish the build. The folder is renamed before it is deleted, so that half of it is never resumed."""
        self.folder.rename(_finished(self.folder))
        remove_stale(self.folder)


def remove_stale(folder: Path) -> None:
    """Remove the folder of a finished build that was killed while it deleted it."""
    shutil.rmtree(_finished(folder), ignore_errors=True)


def _finished(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.finished")


class Part:
    """A part being written: text files by name, opened on first use, and its manifest."""

    def __init__(self, parts: Parts, number: int, files: contextlib.ExitStack):
        self._parts, self._number, self._files = parts, number, files
        self._open: dict[str, IO[str]] = {}
        self.manifest: dict[str, Any] = {"files": []}

    def file(self, name: str) -> IO[str]:
        if name not in self._open:
            self._open[name] = self._files.enter_context(atomic_write(self._parts._name(self._number, name)))
            self.manifest["files"].append(name)
        return self._open[name]
