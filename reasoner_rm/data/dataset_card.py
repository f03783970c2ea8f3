"""The dataset card of a folder: files, sources, licences, counts and commands.

`dataset.json` is for programs, `README.md` has the same content in the hub's format. Both depend on the build
alone, not on time or machine.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reasoner_rm.utils.files import atomic_write
from reasoner_rm.utils.locks import file_lock
from reasoner_rm.utils.parse_files import read_json

NAME = "dataset.json"


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of a folder. ``sources`` are the entries of the files that it was made from."""

    recipe: str
    title: str = ""
    source: str = ""
    hub: str = ""
    licence: str = ""
    split: str = ""
    seed: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)
    command: str = ""
    counts: Mapping[str, Any] = field(default_factory=dict)
    sources: tuple[Mapping[str, Any], ...] = ()


def add_entry(folder: Path, file: str, entry: Entry) -> None:
    """Add a file to its folder's card; replaces an entry of the same name.

    Raises:
        InputError: the card is damaged.
    """
    with file_lock(folder / NAME, wait=True):  # others may add theirs at the same time
        known = read_entries(folder)
        known[file] = {k: v for k, v in dataclasses.asdict(entry).items() if v not in ("", {}, (), None)}
        known = dict(sorted(known.items()))
        for name, text in (
            (NAME, json.dumps(known, ensure_ascii=False, indent=1) + "\n"),
            ("README.md", _readme(folder.resolve().name, known)),
        ):
            with atomic_write(folder / name) as out:
                out.write(text)


def read_entries(folder: Path) -> dict[str, Any]:
    """The entries of a folder by file name; empty without a card.

    Raises:
        InputError: the card is damaged. Sources and licences that it holds would be lost.
    """
    file = folder / NAME
    return read_json(file, remedy="repair it, or remove it and build its files again") if file.is_file() else {}


def entry_of(file: Path) -> Mapping[str, Any] | None:
    """The entry of a file in its folder's `dataset.json`; None without one."""
    entry = read_entries(file.parent).get(file.name)
    return entry if isinstance(entry, Mapping) else None


def licences(entry: Mapping[str, Any]) -> list[str]:
    """The licences of a file and of all its sources; an unknown one is an empty text."""
    below = [name for source in entry.get("sources", ()) for name in licences(source)]
    own = [entry["licence"]] if entry.get("licence") else [] if below else [""]
    return sorted({*own, *below})


def _readme(name: str, entries: Mapping[str, Any]) -> str:
    found = sorted({licence for entry in entries.values() for licence in licences(entry)})
    known = [licence for licence in found if licence]
    lines = ["---", f"license: {_hub_licence(found)}", "---", "", f"# {name}", ""]
    if len(known) > 1 or "" in found:
        lines += [f"Licences: {', '.join(licence or 'unknown' for licence in found)}.", ""]
    for file, entry in entries.items():
        counts = entry.get("counts", {})
        lines += [f"## {file}", ""]
        lines += _facts(entry)
        samples = ", ".join(f"{n} {side}" for side, n in sorted(counts.get("samples", {}).items()))
        tasks = ", ".join(f"{n} {task}" for task, n in sorted(counts.get("tasks", {}).items()))
        lines += [f"- samples: {samples}" * bool(samples), f"- tasks: {tasks}" * bool(tasks)]
        lines += [f"- rows read: {counts['rows']}, bad and skipped: {counts.get('bad', 0)}"] if "rows" in counts else []
        lines += [f"- left out: {n} rows, {reason}" for reason, n in sorted(counts.get("left_out", {}).items())]
        lines += ["", "```bash", entry["command"], "```"] if entry.get("command") else []
        lines.append("")
    return "\n".join(line for i, line in enumerate(lines) if line or i == 0 or lines[i - 1]) + "\n"


def _facts(entry: Mapping[str, Any]) -> list[str]:
    lines = [f"- {entry['title']}"] if entry.get("title") else []
    for what in ("source", "hub", "licence", "split"):
        if entry.get(what):
            lines.append(f"- {what}: {entry[what]}")
    lines.append(f"- made by: {entry['recipe']}, seed {entry.get('seed', 0)}")
    for source in entry.get("sources", ()):
        lines.append(f"- from: {source.get('title') or source.get('source') or source.get('recipe')}")
    return lines


def _hub_licence(found: list[str]) -> str:
    """The hub's licence field: the one licence, else `other`."""
    return found[0].lower() if len(found) == 1 and found[0] else "other"
