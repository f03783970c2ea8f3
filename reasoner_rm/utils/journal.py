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


class Journal:
    """One JSON line for each finished item, by its id. A line that a kill cut off is dropped and done again.

    Args:
        plan: what is being made; a journal of another plan is not gone on with.
    """

    def __init__(self, file: Path, plan: Mapping[str, Any]):
        self.file = file
        self.done: dict[str, dict[str, Any]] = {}
        file.parent.mkdir(parents=True, exist_ok=True)
        whole = 0
        if file.is_file():
            with file.open("rb") as lines:
                for number, line in enumerate(lines):
                    if not line.endswith(b"\n"):
                        break
                    entry = json.loads(line)
                    whole += len(line)
                    if number == 0:
                        if entry != _plain(plan):
                            what = "another run was stopped here, with other settings"
                            raise InputError(what, file=file, remedy="finish it with its own command, or remove it")
                    else:
                        self.done[entry["id"]] = entry
            os.truncate(file, whole)
        self._out = file.open("ab")
        if not whole:
            self._write(_plain(plan))

    @classmethod
    def of_plan(cls, file: Path, plan: Mapping[str, Any]) -> Journal:
        """The journal of a plan beside those of others: the plan's hash is a part of the file's name. What was made for
        one plan, and perhaps paid for, neither stops another nor is lost by it."""
        digest = hashlib.sha256(json.dumps(_plain(plan), sort_keys=True).encode()).hexdigest()[:8]
        return cls(file.with_name(f"{file.name.removesuffix('.jsonl')}.{digest}.jsonl"), plan)

    def add(self, entry: dict[str, Any]) -> None:
        """Keep a result; ``entry["id"]`` names its item."""
        self._write(entry)
        self.done[entry["id"]] = entry

    def _write(self, entry: Mapping[str, Any]) -> None:
        self._out.write(json.dumps(entry, ensure_ascii=False).encode("utf-8", "replace") + b"\n")
        self._out.flush()
        os.fsync(self._out.fileno())

    def close(self) -> None:
        self._out.close()


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
