"""Videos are their frames: from a folder or a list, on disk and in the prompt."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from reasoner_rm.data.io import load_samples, write_samples
from reasoner_rm.errors import InputError
from reasoner_rm.evaluation import blank_images
from reasoner_rm.schema import Sample
from reasoner_rm.serialization import sample_from_dict, sample_to_dict
from reasoner_rm.tasks.frames import frames
from reasoner_rm.tasks.render import load_template, render


def folder(path: Path, *names: str) -> str:
    path.mkdir()
    for name in names:
        Image.new("RGB", (8, 6), "red").save(path / name)
    return str(path)


def pair(*videos: Any) -> Sample:
    return Sample("v", "video_preference", "it falls", videos=videos, gold={"p_first": 1.0})


def test_a_folders_frames_are_counted_not_spelled(tmp_path: Path) -> None:
    video = folder(tmp_path / "a", "f10.png", "f9.png", "f1.JPG")
    (tmp_path / "a" / "notes.txt").write_text("no frame")
    assert [Path(str(f)).name for f in frames(video)] == ["f1.JPG", "f9.png", "f10.png"]


def test_long_videos_are_thinned_evenly_from_first_to_last() -> None:
    every = tuple(str(i) for i in range(15))
    assert frames(every) == ("0", "2", "4", "6", "8", "10", "12", "14")
    assert frames(every, limit=2) == ("0", "14")
    assert frames(every, limit=15) == frames(every, limit=99) == every


@pytest.mark.parametrize(
    ("video", "message"),
    [("gone", "no folder of frames: gone; extract"), (b"film", "bytes"), ((), "no frames in an")],
)
def test_what_has_no_frames_is_refused(video: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        frames(video)


def test_films_and_empty_folders_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"film")
    with pytest.raises(InputError, match=r"no folder of frames: .*a\.mp4; extract the video's frames"):
        frames(str(tmp_path / "a.mp4"))
    with pytest.raises(InputError, match="no frames in"):
        frames(folder(tmp_path / "empty"))


def test_frames_stand_where_the_video_stands() -> None:
    prompt = render(pair(("1a", "1b"), ("2a",)), load_template("video_preference"))
    assert prompt.images == ("1a", "1b", "2a")
    assert prompt.content[:6] == ("Video 1: ", "1a", "1b", "\nVideo 2: ", "2a", prompt.content[5])
    both = dataclasses.replace(pair(("1a",)), task="response_preference", images=("i",), responses=("x", "y"))
    assert render(both, load_template("response_preference")).images == ("i", "1a")


def test_a_template_without_the_videos_is_refused() -> None:
    with pytest.raises(InputError, match="place each image exactly once"):
        render(pair(("1a",), ("2a",)), load_template("image_preference"))


def test_videos_survive_the_disk(tmp_path: Path) -> None:
    video = folder(tmp_path / "a", "1.png", "2.png")
    sample = pair(video, (f"{video}/2.png", f"{video}/1.png"))
    write_samples(tmp_path / "rows.jsonl", [sample])
    assert load_samples(tmp_path / "rows.jsonl") == [sample]
    assert sample_to_dict(sample, tmp_path)["videos"] == ["a", ["a/2.png", "a/1.png"]]
    assert sample_from_dict(sample_to_dict(sample)) == sample


def test_a_missing_frame_is_found_when_samples_are_loaded(tmp_path: Path) -> None:
    video = folder(tmp_path / "a", "1.png")
    write_samples(tmp_path / "rows.jsonl", [pair(video, (f"{video}/3.png",))])
    with pytest.raises(InputError, match=r"rows.jsonl:1: no such image .*3.png"):
        load_samples(tmp_path / "rows.jsonl")


@pytest.mark.parametrize(
    ("field", "value"), [("images", [["a.png"]]), ("videos", [["a.png", 3]]), ("videos", [[["a"]]])]
)
def test_only_videos_are_lists_of_references(field: str, value: Any) -> None:
    with pytest.raises(InputError, match=f"field '{field}' must hold strings"):
        sample_from_dict({"id": "v", "task": "video_preference", "prompt": "x", field: value})


def test_a_blinded_video_keeps_its_frames_sizes_only(tmp_path: Path) -> None:
    sample = pair(folder(tmp_path / "a", "1.png", "2.png"), folder(tmp_path / "b", "1.png"))
    (blind,) = blank_images([sample])
    assert [len(v) for v in blind.videos if isinstance(v, tuple)] == [2, 1]
    for video in blind.videos:
        for frame in frames(video):
            assert isinstance(frame, Image.Image)
            assert frame.size == (8, 6) and frame.getpixel((0, 0)) == (128, 128, 128)
