"""A journal keeps what was done through kills, damage and full disks, and one process at a time has it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from file_limit import file_limit

from reasoner_rm.errors import InputError, StorageError
from reasoner_rm.log import warn_once
from reasoner_rm.utils.journal import Journal, work_through

PLAN = {"model": "a", "seed": 1}


def journal_of(folder: Path, plan: Any = PLAN) -> Journal:
    return Journal(folder / "done.jsonl", plan, lambda entry: entry["text"].lower())


def written(folder: Path, count: int = 3) -> Path:
    journal = journal_of(folder)
    for i in range(count):
        journal.add({"id": str(i), "text": f"é{i}"})
    journal.close()
    return journal.file


def test_what_was_done_is_not_done_again(tmp_path: Path) -> None:
    written(tmp_path)
    journal, asked = journal_of(tmp_path), []

    def do(items: list[str]) -> list[dict[str, Any]]:
        asked.extend(items)
        return [{"text": item} for item in items]

    work_through([(str(i), f"item {i}") for i in range(5)], journal, do, 2)
    journal.close()
    assert sorted(asked) == ["item 3", "item 4"] and list(journal.done) == [str(i) for i in range(5)]


@pytest.mark.parametrize(
    ("line", "said"),
    [(b'{"id": "1", "te', "not valid JSON"), (b'{"id": "1", "text": "\xff"}', "utf-8"), (b'["1"]', "this is list"),
     (b'{"text": "no id"}', "it lacks 'id'"), (b'{"id": "1"}', "it lacks 'text'"), (b"", "not valid JSON"),
     (b'{"id": "1", "text": 7}', "no attribute"), (b"[" * 100_000, "recursion"), (b'"x"', "this is str")],
)  # fmt: skip
def test_a_damaged_line_is_named_set_aside_and_done_again(
    line: bytes, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = written(tmp_path)
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join([lines[0], lines[1], line + b"\n", lines[3], b'{"id": "9", "te']))
    warn_once.cache_clear()
    journal = journal_of(tmp_path)
    assert list(journal.done) == ["0", "2"]
    warning = capsys.readouterr().err
    assert "done.jsonl:3: " in warning and said in warning and "set aside in done.jsonl.damaged" in warning
    assert (tmp_path / "done.jsonl.damaged").read_bytes() == line + b"\n"
    with pytest.raises(InputError, match="another process"):  # the file was replaced, and its lock with it
        journal_of(tmp_path)
    journal.add({"id": "1", "text": "é1"})
    journal.close()
    assert file.read_bytes().splitlines(keepends=True) == [lines[0], lines[1], lines[3], lines[2]]
    warn_once.cache_clear()
    journal_of(tmp_path).close()
    assert not capsys.readouterr().err


@pytest.mark.parametrize("plan", [b"{", b"[1]\n", b"\xff\n", b'{"model": "b"}\n'])
def test_a_damaged_plan_is_one_line(plan: bytes, tmp_path: Path) -> None:
    file = written(tmp_path)
    rest = file.read_bytes().partition(b"\n")[2]
    file.write_bytes(plan.rstrip() + b"\n" + rest)
    with pytest.raises(
        InputError, match=r"done.jsonl(:1: the plan cannot be read|: another run was stopped here)[^\n]+"
    ):
        journal_of(tmp_path)
    assert file.read_bytes().endswith(rest)
    file.unlink()
    journal_of(tmp_path).close()


def test_two_do_not_have_it_at_once(tmp_path: Path) -> None:
    first = journal_of(tmp_path)
    with pytest.raises(InputError, match=r"done.jsonl: another process is writing here; wait for it"):
        journal_of(tmp_path)
    first.add({"id": "0", "text": "x"})
    first.close()
    second = journal_of(tmp_path)
    assert list(second.done) == ["0"]
    second.close()


def test_a_full_disk_loses_only_what_it_refused(tmp_path: Path) -> None:
    journal = journal_of(tmp_path)
    with file_limit(200), pytest.raises(StorageError, match=r"done.jsonl: cannot be written \(File too large\); make"):
        for i in range(100):
            journal.add({"id": str(i), "text": "x" * 30})
    rows = [json.loads(line) for line in journal.file.read_bytes().splitlines()]
    assert rows[0] == PLAN and [row["id"] for row in rows[1:]] == list(journal.done)
    journal.add({"id": "later", "text": "there is room again"})
    journal.close()
    assert "later" in journal_of(tmp_path).done
