"""Files are whole or not there, also where the disk is full; half a line of a killed process is not added to."""

from __future__ import annotations

import errno
import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
import torch
from file_limit import file_limit
from PIL import Image
from safetensors.torch import save_file
from tokenizers import Tokenizer, models

from reasoner_rm.errors import InputError, StorageError
from reasoner_rm.utils.files import (
    append_line,
    atomic_folder,
    atomic_path,
    atomic_write,
    drop_half_line,
    link_or_copy,
    storage_errors,
)
from reasoner_rm.utils.parse_files import read_json, read_yaml

LIMIT = 20_000
NOISE = os.urandom(300_000)


def torch_file(file: Path) -> None:
    with file.open("wb") as out:
        torch.save({"weight": torch.zeros(100_000)}, out)


def tokenizer(file: Path) -> None:
    Tokenizer(models.WordLevel({str(i): i for i in range(10_000)}, unk_token="0")).save(str(file))


WRITERS: dict[str, Callable[[Path], object]] = {
    "text": lambda file: file.write_text("a" * 300_000),
    "bytes": lambda file: file.write_bytes(NOISE),
    "safetensors": lambda file: save_file({"weight": torch.zeros(100_000)}, file),
    "torch": torch_file,
    "torch by path": lambda file: torch.save({"weight": torch.zeros(100_000)}, file),
    "tokenizers": tokenizer,
    "parquet": lambda file: pyarrow.parquet.write_table(pyarrow.table({"x": [NOISE]}), file, compression="none"),
    "png": lambda file: Image.frombytes("RGB", (300, 300), NOISE[:270_000]).save(file, "PNG"),
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_full_disk_is_one_line_whoever_writes(name: str, tmp_path: Path) -> None:
    """Libraries raise exceptions of their own. An earlier file stays, and no part of a new one is left."""
    file = tmp_path / "deep" / "file"
    file.parent.mkdir()
    file.write_text("earlier")
    with (
        file_limit(LIMIT),
        pytest.raises(StorageError, match=r"^/.*/deep/file: cannot be written \(.+\); make room and start again$"),
        atomic_path(file) as beside,
    ):
        WRITERS[name](beside)
    assert file.read_text() == "earlier" and list(file.parent.iterdir()) == [file]
    with (
        file_limit(LIMIT),
        pytest.raises(StorageError, match=r"folder: cannot be written"),
        atomic_folder(tmp_path / "folder") as folder,
    ):
        WRITERS[name](folder / "part")
    assert list(tmp_path.iterdir()) == [file.parent]


def test_text_that_is_refused_only_when_it_is_flushed(tmp_path: Path) -> None:
    with file_limit(100), pytest.raises(StorageError), atomic_write(tmp_path / "file") as out:
        out.write("a" * 200)
    assert not list(tmp_path.iterdir())


def test_other_errors_stay_what_they_are(tmp_path: Path) -> None:
    def unrelated() -> None:
        try:
            raise OSError(errno.ENOSPC, "full")
        except OSError:
            raise InputError("not about the disk") from None

    with pytest.raises(InputError, match="not about"), storage_errors():
        unrelated()
    with pytest.raises(FileNotFoundError), storage_errors(tmp_path):
        (tmp_path / "none").read_text()
    with pytest.raises(StorageError, match=r"^/x: cannot be written \(No space left on device\)"), storage_errors():
        raise OSError(errno.ENOSPC, "full", "/x")
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(InputError, match=r"file/below: cannot be written \(.*\); give another place"),
        atomic_write(tmp_path / "file" / "below"),
    ):
        pass


def test_a_line_is_appended_whole_or_not_at_all(tmp_path: Path) -> None:
    file = tmp_path / "lines"
    with io.FileIO(file, "a+") as out:
        append_line(out, b"one\n")
        with file_limit(1000), pytest.raises(OSError, match="File too large"):
            append_line(out, b"x" * 2000 + b"\n")
        append_line(out, b"two\n")
    assert file.read_bytes() == b"one\ntwo\n"


@pytest.mark.parametrize(
    ("found", "left"),
    [(b"", b""), (b"a\n", b"a\n"), (b"a\nhal", b"a\n"), (b"hal", b""), (b"a\n" + b"x" * 10_000, b"a\n"), (b"\n", b"\n"),
     (b"x" * 4096, b""), (b"x" * 4095 + b"\n", b"x" * 4095 + b"\n"), (b"\n" + b"x" * 4096, b"\n")],
)  # fmt: skip
def test_half_a_line_is_cut_off(found: bytes, left: bytes, tmp_path: Path) -> None:
    file = tmp_path / "lines"
    file.write_bytes(found)
    with io.FileIO(file, "a+") as out:
        assert drop_half_line(out) == (found != left)
        append_line(out, b"next\n")
    assert file.read_bytes() == left + b"next\n"


@pytest.mark.parametrize(
    ("content", "said"),
    [(b'{"a": 1,\n "b" 2}', r":2: not valid JSON: Expecting ':'"), (b'{"a": "\xff"}', "utf-8"), (b"", ":1: not valid"),
     (b"[1]", "a row is a JSON object, this is list"), (b"[" * 100_000, "not valid JSON: .*recursion")],
)  # fmt: skip
def test_damaged_json_is_named_with_its_line(content: bytes, said: str, tmp_path: Path) -> None:
    file = tmp_path / "file.json"
    file.write_bytes(content)
    with pytest.raises(InputError, match=rf"file\.json.*{said}.*; restore it$"):
        read_json(file, "restore it")


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"a: 1\nb: [", r":2: not valid YAML"), (b"a: \xff", "not valid YAML: .*utf-8"), (b"a: 2024-99-99", "month"),
     (b"", "expected a mapping, this is NoneType"), (b"- 1", "this is list"), (b"[" * 100_000, "recursion")],
)  # fmt: skip
def test_damaged_yaml_is_named_with_its_line(content: bytes, said: str, tmp_path: Path) -> None:
    file = tmp_path / "file.yaml"
    file.write_bytes(content)
    with pytest.raises(InputError, match=rf"file\.yaml.*{said}.*; restore it$"):
        read_yaml(file, "restore it")


@pytest.mark.server
def test_standard_output_without_room_is_one_line() -> None:
    """What was printed is refused when the process ends; Python by itself would print a traceback."""
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "reasoner_rm", "data", "list"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1
    assert done.stderr.endswith("cannot be written (No space left on device); make room and start again\n")
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1


def test_weights_are_linked_and_copied_where_there_are_no_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, linked, copied = (tmp_path / name for name in ("a", "b", "c"))
    source.write_bytes(b"weights")
    link_or_copy(source, linked)

    def refuse(*_: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    link_or_copy(source, copied)
    assert linked.samefile(source) and not copied.samefile(source)
    assert linked.read_bytes() == copied.read_bytes() == b"weights"
