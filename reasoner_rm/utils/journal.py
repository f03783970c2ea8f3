"""Slow work on many items, some of it paid for: each result is on disk before the next is waited for, none twice."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

from tqdm import tqdm

from reasoner_rm.errors import InputError
from reasoner_rm.log import warn_once
from reasoner_rm.utils.files import append_line, atomic_path, drop_half_line, storage_errors
from reasoner_rm.utils.locks import open_locked
from reasoner_rm.utils.parse_files import parse_object


class Journal:
    """One JSON line for each finished item, by its id, after a first line with the plan. One process at a time has it.

    A line that a kill cut off is dropped and done again. So is a damaged one: it is named, and kept in a file beside
    the journal.

    Args:
        plan: what is being made; a journal of another plan is not gone on with.
        check: raises LookupError, TypeError, ValueError or AttributeError where an entry is none of this plan's.

    Raises:
        InputError: another process has it open, it is of another plan, or its plan cannot be read.
    """

    def __init__(self, file: Path, plan: Mapping[str, Any], check: Callable[[dict[str, Any]], object] | None = None):
        self.file = file
        self.done: dict[str, dict[str, Any]] = {}
        self._out = open_locked(file)
        try:
            self._read(_plain(plan), check or (lambda entry: None))
        except BaseException:
            if not os.fstat(self._out.fileno()).st_size:  # no room for the plan
                file.unlink(missing_ok=True)
            self._out.close()
            raise

    @classmethod
    def of_plan(
        cls, file: Path, plan: Mapping[str, Any], check: Callable[[dict[str, Any]], object] | None = None
    ) -> Journal:
        """The journal of a plan beside those of others: the plan's hash is a part of the file's name. What was made for
        one plan, and perhaps paid for, neither stops another nor is lost by it."""
        digest = hashlib.sha256(json.dumps(_plain(plan), sort_keys=True).encode()).hexdigest()[:8]
        return cls(file.with_name(f"{file.name.removesuffix('.jsonl')}.{digest}.jsonl"), plan, check)

    def add(self, entry: dict[str, Any]) -> None:
        """Keep a result; ``entry["id"]`` names its item.

        Raises:
            StorageError: the disk is full; what was kept before still is.
        """
        self._write(entry)
        self.done[entry["id"]] = entry

    def close(self) -> None:
        self._out.close()

    def _read(self, plan: Any, check: Callable[[dict[str, Any]], object]) -> None:
        """Take up what is there, and begin the file if there is nothing."""
        drop_half_line(self._out)
        damaged = {}
        number = 0
        for number, line in self._lines():
            if number == 1:
                self._check_plan(line, plan)
                continue
            try:
                entry = parse_object(line)
                check(entry)
                self.done[str(entry["id"])] = entry
            except LookupError as error:
                damaged[number] = f"it lacks {error}"
            except (TypeError, ValueError, AttributeError) as error:
                damaged[number] = str(error)
        if damaged:
            self._set_aside(damaged)
        if not number:
            self._write(plan)

    def _lines(self) -> Iterator[tuple[int, bytes]]:
        self._out.seek(0)
        with open(self._out.fileno(), "rb", closefd=False) as lines:
            yield from enumerate(lines, start=1)

    def _check_plan(self, line: bytes, plan: Any) -> None:
        try:
            found = parse_object(line)
        except ValueError as error:
            remedy = "repair the line, or remove the file to begin anew"
            raise InputError(f"the plan cannot be read: {error}", file=self.file, line=1, remedy=remedy) from None
        if found != plan:
            remedy = "finish it with its own command, or remove it"
            raise InputError("another run was stopped here, with other settings", file=self.file, remedy=remedy)

    def _set_aside(self, damaged: Mapping[int, str]) -> None:
        """Move damaged lines to a file of their own."""
        aside = self.file.with_name(f"{self.file.name}.damaged")
        with (
            storage_errors(aside),
            aside.open("ab") as lost,
            atomic_path(self.file) as beside,
            beside.open("wb") as kept,
        ):
            for number, line in self._lines():
                (lost if number in damaged else kept).write(line)
        self._out.close()
        self._out = open_locked(self.file)
        number, reason = next(iter(damaged.items()))
        more = f"; {len(damaged) - 1} lines more" if len(damaged) > 1 else ""
        warn_once(f"{self.file}:{number}: {reason}{more}; set aside in {aside.name}, and done again")

    def _write(self, entry: Mapping[str, Any]) -> None:
        with storage_errors(self.file):
            append_line(self._out, json.dumps(entry, ensure_ascii=False).encode("utf-8", "replace") + b"\n")
            os.fsync(self._out.fileno())


def _plain(value: Mapping[str, Any]) -> Any:
    return json.loads(json.dumps(value, default=str))


def work_through(
    items: Iterable[tuple[str, Any]],
    journal: Journal,
    do: Callable[[list[Any]], list[dict[str, Any]]],
    parallel: int,
    together: int = 1,
) -> None:
    """Do what the journal does not hold yet, several at a time; an error stops after what is under way.

    ``do`` gives the entries of ``together`` items, without their ids; ``parallel`` such calls run side by side.
    """
    todo: Iterator[tuple[str, Any]] = ((key, item) for key, item in items if key not in journal.done)
    running: dict[Future[list[dict[str, Any]]], list[str]] = {}
    failure: BaseException | None = None
    with ThreadPoolExecutor(parallel) as pool, tqdm(initial=len(journal.done), unit="item", disable=None) as bar:
        while True:
            while failure is None and len(running) < parallel:
                following = list(itertools.islice(todo, together))
                if not following:
                    break
                running[pool.submit(do, [item for _, item in following])] = [key for key, _ in following]
            if not running:
                break
            finished, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                keys = running.pop(future)
                try:
                    for key, entry in zip(keys, future.result(), strict=True):
                        journal.add({"id": key, **entry})
                        bar.update()
                except BaseException as error:
                    failure = failure or error
    if failure is not None:
        raise failure
