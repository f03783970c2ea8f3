"""Samples and images on disk: what is written is read back, and what is wrong is named with its place."""

from __future__ import annotations

import dataclasses
import io
import json
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from reasoner_rm.data.images import open_image, read_bytes
from reasoner_rm.data.io import load_samples, write_samples
from reasoner_rm.errors import InputError
from reasoner_rm.schema import Sample
from reasoner_rm.serialization import sample_from_dict, sample_to_dict
from reasoner_rm.utils.files import atomic_write

ROW: dict[str, Any] = {
    "id": "a",
    "task": "image_preference",
    "prompt": "a cube",
    "images": ["one.png", "two.png"],
    "gold": {"p_first": 1.0},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("one", "two"):
        Image.new("RGB", (8, 8), "red").save(tmp_path / f"{name}.png")
    return tmp_path


def table(folder: Path, *rows: Any) -> Path:
    """A JSONL file; rows that are no dict are written as they are."""
    lines = [json.dumps(r).encode() + b"\n" if isinstance(r, dict) else r for r in rows]
    (folder / "data.jsonl").write_bytes(b"".join(lines))
    return folder / "data.jsonl"


# --- samples ---

plain = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"))  # no half characters
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | plain,
    lambda inner: st.lists(inner) | st.dictionaries(plain, inner),
    max_leaves=5,
)


@given(
    st.builds(
        Sample,
        id=plain,
        task=st.just("qa"),
        prompt=plain,
        responses=st.lists(plain).map(tuple),
        target=st.none() | plain,
        gold=st.dictionaries(plain, values),
        weight=st.floats(0, 1e300),
        group_id=plain,
        source=plain,
        meta=st.dictionaries(plain, values),
    )
)
def test_a_row_gives_its_sample_back(sample: Sample) -> None:
    assert sample_from_dict(json.loads(json.dumps(sample_to_dict(sample)))) == sample


def test_a_file_gives_its_samples_back(folder: Path) -> None:
    images = (str(folder / "one.png"), str(folder / "two.png"))
    samples = [
        Sample("a", "image_preference", "ein Würfel\n\u2028", images, gold={"p_first": 0.25}, meta={"order": [1, 0]}),
        Sample(
            "b", "image_preference", "🎲", images, target="<think>", gold={"ranks": [1, 2]}, weight=0.5, group_id="g"
        ),
    ]
    file = folder / "deep" / "er" / "out.jsonl"
    assert write_samples(file, samples) == 2
    rows = [json.loads(line) for line in file.read_bytes().splitlines()]
    assert rows[0]["images"] == ["../../one.png", "../../two.png"] and "weight" not in rows[0]
    read = load_samples(file)
    assert [[Path(str(r)).resolve() for r in s.images] for s in read] == [[Path(r).resolve() for r in images]] * 2
    assert [dataclasses.replace(s, images=images) for s in read] == samples


def test_paths_hold_through_a_linked_folder(folder: Path) -> None:
    """`..` after a link leaves from where the link points, so a path must not count on the link's own place."""
    (folder / "far" / "away").mkdir(parents=True)
    (folder / "link").symlink_to(folder / "far" / "away")
    sample = sample_from_dict(ROW, folder)
    write_samples(folder / "link" / "out.jsonl", [sample])
    assert len(load_samples(folder / "link" / "out.jsonl")) == 1
    assert len(load_samples(folder / "far" / "away" / "out.jsonl")) == 1


def test_a_folder_can_move_with_its_images(folder: Path) -> None:
    write_samples(folder / "set" / "out.jsonl", [])
    for name in ("one", "two"):
        (folder / f"{name}.png").rename(folder / "set" / f"{name}.png")
    write_samples(folder / "set" / "out.jsonl", [sample_from_dict(ROW, folder / "set")])
    (folder / "set").rename(folder / "moved")
    assert len(load_samples(folder / "moved" / "out.jsonl")) == 1


def test_images_in_memory_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="sample 'a' holds images in memory; save them as files first"):
        write_samples(tmp_path / "out.jsonl", [Sample("a", "qa", "?", images=(b"",))])


def test_blank_lines_and_a_byte_order_mark_do_no_harm(folder: Path) -> None:
    file = table(folder, b"\xef\xbb\xbf", ROW, b"\n", {**ROW, "id": "b"}, b"  \r\n")
    assert [s.id for s in load_samples(file)] == ["a", "b"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (b'{"id": "b", "task": "qa", "pro', "not valid JSON: .* \\(the line is cut off\\); repair or remove the line"),
        (b"{'id': 'b'}\n", "not valid JSON: .*; repair or remove the line"),
        (b'{"id": "\xff"}\n', "not valid JSON: 'utf-8' codec .*; repair"),
        (b"[1, 2]\n", "a row is a JSON object, this is list"),
        (b"[" * 100_000 + b"\n", "not valid JSON: .*; repair"),
        (b'{"id": ' + b"1" * 5000 + b"}\n", "not valid JSON: .*; repair"),
        ({**ROW, "image": "x.png"}, "unknown field 'image'; did you mean 'images'\\? .*put extras into meta"),
        ({**ROW, "zzz": 1}, "unknown field 'zzz'; fields: id, task, .*; put extras into meta"),
        ({k: v for k, v in ROW.items() if k != "prompt"}, "a sample needs 'prompt'; required fields: id, task, prompt"),
        ({**ROW, "prompt": 7}, "field 'prompt' is int: '7'"),
        ({**ROW, "images": "one.png"}, "field 'images' is str: 'one.png'"),
        ({**ROW, "images": ["one.png", 2]}, "field 'images' must hold strings"),
        ({**ROW, "gold": [1]}, "field 'gold' is list"),
        ({**ROW, "weight": True}, "field 'weight' is bool"),
        ({**ROW, "weight": -1}, "field 'weight' is -1"),
        (json.dumps(ROW).encode()[:-1] + b', "weight": NaN}\n', "not valid JSON: .*NaN.*; repair"),
        (json.dumps(ROW).encode()[:-1] + b', "weight": 1e400}\n', "a number is beyond"),
        ({**ROW, "task": "image_prefrence"}, "unknown task 'image_prefrence'; did you mean 'image_preference'\\?"),
        ({**ROW, "gold": {}}, "sample 'a' .image_preference. has no gold.p_first; add \"p_first\" to its gold"),
        ({**ROW, "images": ["one.png"]}, "sample 'a' has 1 candidates, a preference compares 2; expand rankings"),
        (
            {**ROW, "images": ["one.png", "three.png"]},
            "no such image .*three.png; paths are relative to the folder of the file that names them",
        ),
        ({**ROW, "images": ["one.png", ""]}, "no such image"),
        ({**ROW, "images": ["one.png", "away.tar#two.png"]}, "no such image"),
        ({**ROW, "prompt": "\x00"}, "sample 'a' holds a NUL"),
        ({**ROW, "prompt": "\ud83d"}, "sample 'a' holds .*half"),
        ({**ROW, "id": "first"}, "id 'first' is already on line 1; make ids unique"),
    ],
)
def test_a_bad_line_is_named_in_one_line(folder: Path, row: Any, message: str) -> None:
    file = table(folder, {**ROW, "id": "first"}, b"\n", row)
    with pytest.raises(InputError) as caught:
        load_samples(file)
    text = str(caught.value)
    assert "\n" not in text
    assert re.match(re.escape(f"{file}:3: ") + message, text), text


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "no such file; give a JSONL"), (b"", "no samples in it"), (b"\n \n", "no samples in it")],
)
def test_a_file_without_samples_is_an_error(tmp_path: Path, content: bytes | None, message: str) -> None:
    file = tmp_path / "data.jsonl"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(InputError, match=re.escape(f"{file}: {message}")):
        load_samples(file)


def test_the_check_can_be_left_out(folder: Path) -> None:
    assert load_samples(table(folder, {**ROW, "images": ["gone.png"], "gold": {}}), check=False)[0].id == "a"


# --- writing is all or nothing ---


@pytest.mark.parametrize("kill", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_a_write_that_dies_leaves_the_old_file(folder: Path, kill: type[BaseException]) -> None:
    file = folder / "out" / "data.jsonl"
    write_samples(file, [sample_from_dict(ROW, folder)])
    before = file.read_bytes()

    def dying() -> Iterator[Sample]:
        for i in range(5000):  # enough to have reached the disk
            yield Sample(f"s{i}", "qa", "?" * 100)
        raise kill

    with pytest.raises(kill):
        write_samples(file, dying())
    assert file.read_bytes() == before
    assert [p.name for p in file.parent.iterdir()] == ["data.jsonl"]


def test_the_file_appears_whole(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    with atomic_write(file) as out:
        out.write("half")
        out.flush()
        assert not file.exists()
    assert file.read_text() == "half"
    assert file.stat().st_mode & 0o777 == 0o644
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


# --- images ---


def encoded(image: Image.Image, format: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def pixel(ref: Any, at: tuple[int, int] = (0, 0)) -> tuple[int, ...]:
    image = open_image(ref)
    assert image.mode == "RGB"
    value = image.getpixel(at)
    assert isinstance(value, tuple)
    return tuple(int(v) for v in value)


def test_transparency_lies_on_white() -> None:
    clear, half = Image.new("RGBA", (2, 2), (255, 0, 0, 0)), Image.new("RGBA", (2, 2), (0, 0, 0, 128))
    assert pixel(encoded(clear)) == (255, 255, 255)
    assert pixel(encoded(half)) == (127, 127, 127)
    assert pixel(clear) == (255, 255, 255)
    assert pixel(encoded(Image.new("LA", (2, 2), (0, 0)))) == (255, 255, 255)
    palette = Image.new("P", (2, 2), 0)
    palette.putpalette([255, 0, 0])
    assert pixel(encoded(palette, transparency=0)) == (255, 255, 255)
    assert pixel(encoded(palette)) == (255, 0, 0)


def test_exif_orientation_is_applied() -> None:
    image = Image.new("RGB", (16, 8), "black")
    image.paste((255, 255, 255), (0, 0, 8, 8))  # white on the left
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to show
    data = encoded(image, "JPEG", exif=exif, quality=95)
    assert open_image(data).size == (8, 16)
    assert min(pixel(data, (4, 2))) > 200 and max(pixel(data, (4, 13))) < 50


def test_grey_black_and_cmyk_images_become_rgb() -> None:
    assert pixel(encoded(Image.new("L", (2, 2), 100))) == (100, 100, 100)
    assert pixel(encoded(Image.new("1", (2, 2), 1))) == (255, 255, 255)
    assert max(pixel(encoded(Image.new("CMYK", (8, 8), (0, 0, 0, 255)), "JPEG"))) < 20


def test_every_mode_becomes_the_same_rgb() -> None:
    """Grey of 16 bits, in memory and in files of either byte order, is scaled and not clipped; so are 1 and 8 bits."""
    ramp = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    little, big = ramp.astype("<u2").tobytes(), ramp.astype(">u2").tobytes()
    native = little if np.little_endian else big
    grey = Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16))
    shown: dict[str, Image.Image | bytes] = {
        mode: Image.frombytes(mode, (16, 16), data)
        for mode, data in {"I;16": little, "I;16L": little, "I;16B": big, "I;16N": native}.items()
    }
    shown |= {mode: grey.convert(mode) for mode in ("L", "P", "LA", "PA", "RGB", "RGBA", "RGBX", "YCbCr")}
    shown |= {f"{format} of 16 bits": encoded(Image.fromarray(ramp), format) for format in ("PNG", "TIFF")}
    imagej = encoded(Image.frombytes("I;16B", (16, 16), big), "TIFF")
    assert imagej.startswith(b"MM")
    shown["big-endian TIFF, as ImageJ writes it"] = imagej
    for mode, image in shown.items():
        opened = np.asarray(open_image(image))
        assert opened.shape == (16, 16, 3), mode
        assert np.abs(opened.reshape(-1, 3).astype(int) - np.arange(256)[:, None]).max() <= 1, mode
    assert np.asarray(open_image(grey.convert("1", dither=Image.Dither.NONE)))[:, 0, 0].tolist() == [0] * 8 + [255] * 8


def test_sixteen_bits_keep_their_orientation_and_their_transparency() -> None:
    ramp = np.array([[0, 20_000, 65_535]], np.uint16)
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = np.asarray(open_image(encoded(Image.fromarray(ramp), exif=exif)))
    assert turned[:, :, 0].tolist() == [[0], [20_000 >> 8], [255]]
    clear = np.asarray(open_image(encoded(Image.fromarray(ramp), transparency=20_000)))
    assert clear[0, :, 0].tolist() == [0, 255, 255]


def test_references_into_archives_and_tables(folder: Path) -> None:
    data = (folder / "one.png").read_bytes()
    with tarfile.open(folder / "all.tar.gz", "w:gz") as tar:
        tar.add(folder / "one.png", "deep/one.png")
    rows = {"image": [{"bytes": b"x", "path": ""}, {"bytes": data, "path": ""}], "raw": [data, None]}
    pq.write_table(pa.table(rows), folder / "rows.parquet")
    assert read_bytes(f"{folder}/all.tar.gz#deep/one.png") == data
    assert read_bytes(f"{folder}/rows.parquet#1/image") == data
    assert read_bytes(f"{folder}/rows.parquet#0/raw") == data
    assert open_image(f"{folder}/rows.parquet#1/image").size == (8, 8)
    assert len(load_samples(table(folder, {**ROW, "images": ["all.tar.gz#deep/one.png", "rows.parquet#0/raw"]}))) == 1


def test_a_number_sign_is_allowed_in_a_name(folder: Path) -> None:
    (folder / "one.png").rename(folder / "one#1.png")
    assert open_image(str(folder / "one#1.png")).size == (8, 8)
    assert len(load_samples(table(folder, {**ROW, "images": ["one#1.png", "two.png"]}))) == 1


def broken(folder: Path) -> dict[str, str]:
    """References that lead nowhere or to no image, with what is said about them."""
    data = (folder / "one.png").read_bytes()
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    photo = encoded(Image.fromarray(noise), "JPEG")
    (folder / "cut.png").write_bytes(encoded(Image.fromarray(noise))[:5000])
    (folder / "cut.jpg").write_bytes(photo[: len(photo) // 2])
    (folder / "text.png").write_bytes(b"<html>")
    (folder / "none.png").write_bytes(b"")
    (folder / "noise.bin").write_bytes(noise.tobytes())
    with tarfile.open(folder / "all.tar.gz", "w:gz") as tar:
        tar.add(folder / "noise.bin", "deep/noise.bin")
    (folder / "cut.tar.gz").write_bytes((folder / "all.tar.gz").read_bytes()[:5000])
    (folder / "text.tar").write_bytes(b"<html>" * 1000)
    (folder / "text.parquet").write_bytes(b"<html>" * 1000)
    pq.write_table(pa.table({"raw": [data, None, data], "label": [1, 2, 3]}), folder / "rows.parquet")
    return {
        "gone.png": "no such image; check the path",
        "": "no such image; check the path",
        "cut.png": "broken image .*; replace the file or drop its row",
        "cut.jpg": "broken image .*truncated.*; replace the file or drop its row",
        "text.png": "broken image",
        "none.png": "broken image",
        "gone.tar#one.png": "no such image",
        "all.tar.gz#gone.png": "cannot read image .*gone.png",
        "all.tar.gz#deep": "cannot read image",
        "cut.tar.gz#deep/noise.bin": "cannot read image",
        "text.tar#one.png": "cannot read image",
        "gone.parquet#0/raw": "no such image",
        "text.parquet#0/raw": "cannot read image",
        "rows.parquet#0/image": "cannot read image",
        "rows.parquet#9/raw": "cannot read image",
        "rows.parquet#-1/raw": "cannot read image",
        "rows.parquet#x/raw": "cannot read image",
        "rows.parquet#0": "cannot read image",
        "rows.parquet#1/raw": "cannot read image .*holds no image bytes at row 1",
        "rows.parquet#0/label": "cannot read image .*holds no image bytes",
        "nul\x00.png": "cannot read image",
    }


def test_broken_references_are_named_in_one_line(folder: Path) -> None:
    for ref, message in broken(folder).items():
        with pytest.raises(InputError) as caught:
            open_image(f"{folder}/{ref}")
        text = str(caught.value)
        assert "\n" not in text and text.startswith(f"{folder}/{ref}".rstrip("/")), text
        assert re.search(message, text), text


def test_broken_bytes_are_named() -> None:
    with pytest.raises(InputError, match="<bytes>: broken image"):
        open_image(b"not an image")


def test_a_bomb_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reasoner_rm.data.images.MAX_PIXELS", 15)
    with pytest.raises(InputError, match="4x4 pixels is too large"):
        open_image(encoded(Image.new("L", (4, 4))))
