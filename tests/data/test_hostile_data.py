"""Data files of strangers: each ends in one line that quotes no other file, in bounded time and memory."""

from __future__ import annotations

from pathlib import Path

import hostile_data
import pytest
from shell import shell

from reasoner_rm.data import expansion
from reasoner_rm.data.images import open_image
from reasoner_rm.data.io import load_samples
from reasoner_rm.errors import InputError
from reasoner_rm.tasks.frames import frames


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bombs that are made in no time; benchmarks/hostile_files.py has them in full."""
    monkeypatch.setattr(hostile_data, "BOMB", 16 * hostile_data.MB)
    monkeypatch.setattr(expansion, "ALLOWANCE", hostile_data.MB)


@pytest.mark.timeout(30)
@pytest.mark.parametrize("name", hostile_data.MADE)
def test_a_hostile_file_ends_in_one_line(name: str, tmp_path: Path) -> None:
    file = hostile_data.make(tmp_path, name)
    (tmp_path / "mapping.yaml").write_text(hostile_data.MAPPING)
    build = ("build", "mapped", "--mapping", tmp_path / "mapping.yaml", "--decode", "--data", file)
    out = ("--out", tmp_path / "out")
    verb = {"archive": ("unpack", file, *out), "table": (*build, *out), "samples": ("validate", file)}
    ended = shell("data", *verb[hostile_data.kind_of(file)])
    errors = ended.stderr.splitlines()
    assert ended.returncode == 2 and len(errors) == 1 and errors[0].startswith("error: "), ended.stderr
    assert len(errors[0]) < 2100 and hostile_data.CANARY not in ended.stdout + ended.stderr
    if hostile_data.kind_of(file) == "samples":
        with pytest.raises(InputError):
            as_in_training(file)


def as_in_training(file: Path) -> None:
    for sample in load_samples(file):
        for ref in (*sample.images, *(frame for video in sample.videos for frame in frames(video))):
            open_image(ref)


def test_every_kind_is_there() -> None:
    assert len(hostile_data.MADE) >= 150
