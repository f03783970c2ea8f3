"""Image references of strangers: devices, pipes, links in a circle, and files that are other than they are called."""

from __future__ import annotations

import ast
import io
import os
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from shell import shell

from reasoner_rm.client.messages import encoded
from reasoner_rm.data import images
from reasoner_rm.data.images import FORMATS, check_header, open_image, read_bytes
from reasoner_rm.errors import InputError

ROOT = Path(__file__).parents[2]


def pipe(folder: Path, name: str = "pipe.png") -> str:
    os.mkfifo(folder / name)
    return str(folder / name)


def link(folder: Path) -> str:
    (folder / "zero.png").symlink_to("/dev/zero")
    return str(folder / "zero.png")


def linked(folder: Path, target: str) -> str:
    """A member of a tarball that is a link to another name."""
    with tarfile.open(folder / "a.tar", "w") as tar:
        for name, to in (("x.png", target), ("y.png", "x.png")):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.LNKTYPE, to
            tar.addfile(member)
    return f"{folder}/a.tar#x.png"


def damaged(folder: Path) -> str:
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w:xz") as tar:
        member = tarfile.TarInfo("x.png")
        member.size = 100_000
        tar.addfile(member, io.BytesIO(os.urandom(member.size)))
    data = bytearray(plain.getvalue())
    data[5000:6000] = bytes(1000)
    (folder / "a.tar.xz").write_bytes(data)
    return f"{folder}/a.tar.xz#x.png"


ENDLESS: dict[str, Callable[[Path], str]] = {
    "a device": lambda folder: "/dev/zero",
    "a terminal": lambda folder: "/dev/tty",
    "a link to a device": link,
    "a pipe": pipe,
    "a pipe as a tarball": lambda folder: pipe(folder, "a.tar") + "#x.png",
    "a pipe as a table": lambda folder: pipe(folder, "a.parquet") + "#0/image",
    "a link to itself": lambda folder: linked(folder, "x.png"),
    "links in a circle": lambda folder: linked(folder, "y.png"),
    "a damaged tarball": damaged,
    "NUL": lambda folder: f"{folder}/\0.png",
    "half a character": lambda folder: f"{folder}/\ud800.png",
    "a long name": lambda folder: f"{folder}/{'a' * 5000}.png",
}


@pytest.mark.timeout(20)
@pytest.mark.parametrize("name", ENDLESS)
def test_what_has_no_end_is_not_read(tmp_path: Path, name: str) -> None:
    ref = ENDLESS[name](tmp_path)
    for use in (read_bytes, open_image, encoded):
        with pytest.raises(InputError) as refused:
            use(ref)
        assert "\n" not in str(refused.value)


def test_a_file_has_a_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one in a tarball."""
    file = tmp_path / "a.png"
    Image.new("RGB", (8, 8)).save(file)
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        tar.add(file, "a.png")
    for ref in (str(file), f"{tmp_path}/a.tar#a.png"):
        monkeypatch.setattr(images, "MAX_BYTES", file.stat().st_size)
        assert read_bytes(ref) == file.read_bytes()
        monkeypatch.setattr(images, "MAX_BYTES", file.stat().st_size - 1)
        with pytest.raises(InputError, match="the limit"):
            read_bytes(ref)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("verb", ["validate", "show", "dedup", "pack"])
def test_every_verb_refuses_a_pipe(tmp_path: Path, verb: str) -> None:
    pipe(tmp_path)
    row = '{"id": "a", "task": "image_preference", "prompt": "x", "images": ["pipe.png", "pipe.png"], '
    (tmp_path / "d.jsonl").write_text(row + '"gold": {"p_first": 1.0}}\n')
    out = {"validate": [], "show": ["--html", tmp_path / "out.html"]}.get(verb, ["--out", tmp_path / "out.jsonl"])
    told = shell("data", verb, tmp_path / "d.jsonl", *out)
    assert "Traceback" not in told.stderr
    assert "no regular file" in told.stdout + told.stderr or (verb == "show" and not told.returncode)


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n%%EOF\n"


def test_postscript_starts_no_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Ghostscript that notes that it was called."""
    (tmp_path / "gs").write_text(f"#!/bin/sh\necho called >> {tmp_path}/called\n")
    (tmp_path / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr("PIL.EpsImagePlugin.gs_binary", None)
    assert shutil.which("gs") == str(tmp_path / "gs")
    (tmp_path / "a.png").write_bytes(EPS)
    for use in (open_image, encoded, lambda ref: check_header(read_bytes(ref), ref)):
        with pytest.raises(InputError):
            use(str(tmp_path / "a.png"))
    assert not (tmp_path / "called").exists()


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_is_read(kind: str) -> None:
    out = io.BytesIO()
    Image.new("RGB", (32, 32), "red").save(out, kind)
    assert open_image(out.getvalue()).getpixel((9, 9))[0] > 200  # type: ignore[index]


def test_images_are_opened_at_one_place() -> None:
    """`data.images.identify`, which names the formats."""
    found = [
        (file.name, [keyword.arg for keyword in node.keywords])
        for file in [*ROOT.glob("reasoner_rm/**/*.py"), *ROOT.glob("data_recipes/**/*.py")]
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("Image.open", "PILImage.open", "PIL.Image.open")
    ]
    assert found == [("images.py", ["formats"])]
