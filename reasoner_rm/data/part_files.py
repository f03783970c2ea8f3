"""Output in parts: each appears whole, with an account of what it holds, so that a killed build goes on where it was.

A part is the work of a fixed number of source rows. Its files come first and its account last; a part without an
account never was. The finished output is the parts one after the other, so no interruption can show in it.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from reasoner_rm.errors import InputError
from reasoner_rm.utils.files import atomic_write


class Parts:
    """The folder of an unfinished build.

    Args:
        folder: exists while the build is unfinished, and only then.
        plan: what is being built; another plan does not go on with this one's parts.
        anew: throw the parts of another plan away.

    Raises:
        InputError: parts of another plan are there.
    """

    def __init__(self, folder: Path, plan: Mapping[str, Any], anew: bool = False):
        self.folder, self._next = folder, 0
        remove_stale(folder)
        noted = folder / "plan.json"
        text = json.dumps(plan, ensure_ascii=False, indent=1, sort_keys=True, default=str)
        if noted.is_file() and noted.read_text(encoding="utf-8") != text:
            if not anew:
                what = "another build was stopped here, with other settings or data"
                raise InputError(what, file=folder, remedy="finish it with its own command, or --overwrite it")
            self.remove()
        if not noted.is_file():
            with atomic_write(noted) as out:
                out.write(text)
        self.accounts = list(self._finished())

    def _finished(self) -> Iterator[dict[str, Any]]:
        while (file := self._name(self._next, "account.json")).is_file():
            self._next += 1
            yield json.loads(file.read_text(encoding="utf-8"))

    def _name(self, number: int, name: str) -> Path:
        return self.folder / f"{number:05d}.{name}"

    @contextlib.contextmanager
    def part(self) -> Iterator[Part]:
        """The next part; it counts once this is left without an error."""
        number = self._next
        with contextlib.ExitStack() as files:
            made = Part(self, number, files)
            yield made
        with atomic_write(self._name(number, "account.json")) as out:
            json.dump(made.account, out, ensure_ascii=False)
        self.accounts.append(made.account)
        self._next = number + 1

    def join(self, name: str, out: Path) -> None:
        """One file of that name's parts, in order."""
        half = self.folder / f"{out.name}.whole"
        with half.open("wb") as whole:
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
            shutil.copyfile(part, half := self.folder / f"{file.name}.whole")
            half.replace(file)
        return names

    def names(self) -> list[str]:
        """What files the parts hold."""
        return sorted({name for account in self.accounts for name in account.get("files", ())})

    def remove(self) -> None:
        """The build is finished. The folder goes at once: half of its parts must never be taken for all of them."""
        self.folder.rename(_finished(self.folder))
        remove_stale(self.folder)


def remove_stale(folder: Path) -> None:
    """Remove what is left of a finished build that was killed while it tidied up."""
    shutil.rmtree(_finished(folder), ignore_errors=True)


def _finished(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.finished")


class Part:
    """A part that is being written: text files by name, opened when first asked for, and its account."""

    def __init__(self, parts: Parts, number: int, files: contextlib.ExitStack):
        self._parts, self._number, self._files = parts, number, files
        self._open: dict[str, IO[str]] = {}
        self.account: dict[str, Any] = {"files": []}

    def file(self, name: str) -> IO[str]:
        if name not in self._open:
            self._open[name] = self._files.enter_context(atomic_write(self._parts._name(self._number, name)))
            self.account["files"].append(name)
        return self._open[name]
