"""Packing images: the same pixels from fewer files, and a kill that costs a shard at most."""

from __future__ import annotations

from pathlib import Path

import pytest

from data_recipes import pocket
from reasoner_rm import load_samples
from reasoner_rm.data import shards
from reasoner_rm.data.images import open_image
from reasoner_rm.data.shards import pack
from reasoner_rm.errors import InputError
from reasoner_rm.tasks.frames import frames


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    return pocket.build(tmp_path / "made", "train", "image_preference", 25, 1, name="pairs")


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_packed_samples_are_the_same_samples(pairs: Path, tmp_path: Path) -> None:
    made = pack(pairs, tmp_path / "packed", per_shard=10)
    assert (made.samples, made.images, made.shards) == (25, 50, 3)
    for before, after in zip(load_samples(pairs), load_samples(tmp_path / "packed" / "pairs.jsonl"), strict=True):
        assert (before.id, before.gold, before.target) == (after.id, after.gold, after.target)
        for one, two in zip(before.images, after.images, strict=True):
            assert ".parquet#" in str(two) and open_image(one).tobytes() == open_image(two).tobytes()


def test_packed_references_travel_with_their_folder(pairs: Path, tmp_path: Path) -> None:
    pack(pairs, tmp_path / "packed")
    (tmp_path / "packed").rename(tmp_path / "elsewhere")
    sample = load_samples(tmp_path / "elsewhere" / "pairs.jsonl")[3]
    assert open_image(sample.images[0]).size == (56, 56)


def test_an_image_of_several_samples_is_held_once(pairs: Path, tmp_path: Path) -> None:
    twice = pairs.with_name("twice.jsonl")
    twice.write_text(pairs.read_text() + pairs.read_text().replace('"id": "', '"id": "again-'))
    assert pack(twice, tmp_path / "packed").images == 50


def test_frames_are_packed_too(tmp_path: Path) -> None:
    file = pocket.build(tmp_path / "made", "train", "video_preference", 3, 1, name="clips")
    pack(file, tmp_path / "packed")
    for before, after in zip(load_samples(file), load_samples(tmp_path / "packed" / "clips.jsonl"), strict=True):
        for one, two in zip(before.videos, after.videos, strict=True):
            seen = [[open_image(f).tobytes() for f in frames(video)] for video in (one, two)]
            assert seen[0] == seen[1]


def test_a_killed_packing_goes_on_and_ends_the_same(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack(pairs, tmp_path / "whole" / "set", per_shard=10)
    write, calls = shards._write, []

    def dies(shard: Path, samples):  # type: ignore[no-untyped-def]
        calls.append(shard)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return write(shard, samples)

    monkeypatch.setattr(shards, "_write", dies)
    with pytest.raises(KeyboardInterrupt):
        pack(pairs, tmp_path / "cut" / "set", per_shard=10)
    assert not (tmp_path / "cut" / "set" / "pairs.jsonl").exists()
    pack(pairs, tmp_path / "cut" / "set", per_shard=10)
    assert len(calls) == 4  # the first shard was not made again
    assert files(tmp_path / "cut" / "set") == files(tmp_path / "whole" / "set")


def test_what_cannot_be_packed_is_said(pairs: Path, tmp_path: Path) -> None:
    pack(pairs, tmp_path / "packed")
    with pytest.raises(InputError, match="exists already"):
        pack(pairs, tmp_path / "packed")
    next((pairs.parent / "images" / "pairs").iterdir()).unlink()
    with pytest.raises(InputError, match=r"sample 'pocket-.*no such image"):
        pack(pairs, tmp_path / "other")
    with pytest.raises(InputError, match="no such file"):
        pack(tmp_path / "nothing.jsonl", tmp_path / "third")
