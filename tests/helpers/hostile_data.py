"""A hundred and fifty hostile data files: each function of `MADE` writes one into a folder and returns its path.

They are JSONL files of samples, tables for `data build pairs`, and tarballs for `data unpack`.
"""

from __future__ import annotations

import bz2
import gzip
import io
import itertools
import json
import lzma
import os
import struct
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

HUGE, DEEP = 10**400, 100_000
MB = 2**20
BOMB = 512 * MB
"""The bytes that a tarball or a table expands to. A test may make it smaller, with what is allowed."""

Make = Callable[[Path], Path]
CANARY = "canary 7c51ae3"
"""The text of the file `outside/secret.txt`, which nothing has a reason to repeat."""


def make(folder: Path, name: str) -> Path:
    """The file of a name, in a folder of its own beside `outside`, which it has no reason to read."""
    (folder / "outside").mkdir()
    (folder / "outside" / "secret.txt").write_text(CANARY)
    (folder / "data").mkdir()
    return MADE[name](folder / "data")


# --- rows ----------------------------------------------------------------------------------------------------

PAIR: dict[str, Any] = {"id": "a", "task": "image_preference", "prompt": "red", "images": ["1.png", "2.png"],
                        "gold": {"p_first": 1.0}}  # fmt: skip
SCORE = PAIR | {"task": "pointwise", "images": ["1.png"], "gold": {"score": 3}}
QUESTION = PAIR | {"task": "qa", "images": ["1.png"], "gold": {"answer": "3", "kind": "number"}}
BOXES = PAIR | {"task": "detection", "images": ["1.png"], "gold": {"boxes": [{"bbox_2d": [0, 0, 9, 9], "label": "a"}]}}
STEPS = PAIR | {"task": "step_critique", "images": [], "responses": ["x"], "gold": {"steps": [1]}}
CRITIC = PAIR | {"task": "caption_critic", "images": ["1.png"], "gold": {"original": "blue", "changed": "red"}}
ANSWERS = PAIR | {"task": "response_preference", "images": [], "responses": ["x", "y"]}
FILMS = PAIR | {"task": "video_preference", "images": [], "videos": ["film", ["1.png", "2.png"]]}


def lines(*texts: str | bytes) -> Make:
    """A file of lines."""

    def write(folder: Path) -> Path:
        pictures(folder)
        file = folder / "data.jsonl"
        file.write_bytes(b"".join(t.encode() if isinstance(t, str) else t for t in texts))
        return file

    return write


def rows(*values: dict[str, Any]) -> Make:
    return lines(*(json.dumps(value) + "\n" for value in values))


def gold(row: dict[str, Any], **values: Any) -> Make:
    return rows(row | {"gold": row["gold"] | values})


def pictures(folder: Path) -> None:
    """Two images, and a film of two frames."""
    (folder / "film").mkdir()
    for i, place in enumerate((folder / "1.png", folder / "2.png", folder / "film" / "1.png", folder / "film/2.png")):
        Image.new("RGB", (8, 8), (60 * i, 0, 0)).save(place)


def shows(*refs: str) -> Callable[[Callable[[Path], Any]], Make]:
    """A pair of images, the first of them made by a function, the second sound."""

    def wrap(write: Callable[[Path], Any]) -> Make:
        def made(folder: Path) -> Path:
            file = rows(PAIR | {"images": [refs[0], "2.png"]})(folder)
            write(folder)
            return file

        return made

    return wrap


def image(ref: str, write: Callable[[Path], Any] = lambda folder: None) -> Make:
    return shows(ref)(write)


def content(data: bytes, name: str = "x.png") -> Make:
    return image(name, lambda folder: (folder / name).write_bytes(data))


# --- images --------------------------------------------------------------------------------------------------


def encoded(kind: str, size: tuple[int, int] = (64, 64)) -> bytes:
    out = io.BytesIO()
    Image.effect_noise(size, 60).convert("RGB").save(out, kind)
    return out.getvalue()


def png(
    width: int, height: int, body: bytes = b"", *chunks: tuple[bytes, bytes], depth: int = 8, kind: int = 2
) -> bytes:
    """A PNG of any declared size."""
    head = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    parts = [(b"IHDR", head), *chunks, (b"IDAT", body), (b"IEND", b"")]
    pieces = [struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in parts]
    return b"\x89PNG\r\n\x1a\n" + b"".join(pieces)


def zeros(size: int, wbits: int = 15) -> bytes:
    """Zeros, deflated: a thousandth of their size, written without holding them."""
    packer = zlib.compressobj(9, wbits=wbits)
    piece = bytes(MB)
    return b"".join([*(packer.compress(piece) for _ in range(size // MB)), packer.flush()])


# --- archives ------------------------------------------------------------------------------------------------


def member(name: str, size: int = 0, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname = size, kind, link
    return info


def tar(*members: tarfile.TarInfo | tuple[tarfile.TarInfo, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as made:
        for item in members:
            info, data = item if isinstance(item, tuple) else (item, b"")
            info.size = info.size or len(data)
            made.addfile(info, io.BytesIO(data) if data else None)
    return out.getvalue()


def tarred(data: bytes, suffix: str = "", name: str = "x.png") -> Make:
    """A sample that shows a member of a tarball."""
    return image(f"a.tar{suffix}#{name}", lambda folder: (folder / f"a.tar{suffix}").write_bytes(data))


def archive(data: bytes, suffix: str = "") -> Make:
    """A tarball by itself."""

    def write(folder: Path) -> Path:
        (folder / f"a.tar{suffix}").write_bytes(data)
        return folder / f"a.tar{suffix}"

    return write


def bomb(suffix: str) -> Callable[[], bytes]:
    """A tarball of a member of zeros before one that is asked for."""
    return lambda: packed_zeros(suffix, member("zeros", BOMB).tobuf(tarfile.GNU_FORMAT), tar(picture()))


def packed_zeros(suffix: str, before: bytes, after: bytes) -> bytes:
    """A stream of `BOMB` zeros between two texts, compressed piece by piece."""
    packer: Any = {".gz": lambda: zlib.compressobj(9, wbits=31), ".bz2": bz2.BZ2Compressor,
                   ".xz": lambda: lzma.LZMACompressor(preset=0)}[suffix]()  # fmt: skip
    piece = bytes(MB)
    parts = itertools.chain([before], itertools.repeat(piece, BOMB // len(piece)), [after])
    return b"".join([*map(packer.compress, parts), packer.flush()])


def picture(name: str = "x.png") -> tuple[tarfile.TarInfo, bytes]:
    return member(name), encoded("PNG")


def _resized(data: bytes, size: int) -> bytes:
    """A tarball whose first member claims another size."""
    head = bytearray(data[:512])
    head[124:136] = tarfile.itn(size, 12, tarfile.GNU_FORMAT)
    head[148:156] = b" " * 8
    head[148:156] = f"{sum(head):06o}\0 ".encode()
    return bytes(head) + data[512:]


def sparse() -> bytes:
    """A tarball of a member that is a hole."""
    head = bytearray(_resized(tar(member("x.png", kind=tarfile.GNUTYPE_SPARSE)), 0)[:512])
    head[386:398], head[398:410] = b"%011o\0" % (BOMB - 1), b"%011o\0" % 0
    head[483:495] = tarfile.itn(2**40, 12, tarfile.GNU_FORMAT)
    return _resized(bytes(head), 0) + bytes(1024)


PACKED = {"": lambda data: data, ".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}


def damaged(data: bytes, start: float, size: int = 40) -> bytes:
    at = int(len(data) * start)
    return data[:at] + bytes(size) + data[at + size :]


# --- tables --------------------------------------------------------------------------------------------------


def table(data: str | bytes, name: str = "pairs.csv") -> Make:
    """A table of pairs."""

    def write(folder: Path) -> Path:
        pictures(folder)
        (folder / name).write_bytes(data.encode() if isinstance(data, str) else data)
        return folder / name

    return write


def parquet(columns: dict[str, Any], **settings: Any) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    out = io.BytesIO()
    pq.write_table(pa.table(columns), out, **settings)
    return out.getvalue()


def cell(inside: str, data: bytes | Callable[[], bytes]) -> Make:
    """A sample that shows a cell of a parquet file."""

    def write(folder: Path) -> None:
        (folder / "a.parquet").write_bytes(data if isinstance(data, bytes) else data())

    return image(f"a.parquet#{inside}", write)


def repeated(rows: int, value: bytes) -> bytes:
    """Rows with one value, which is stored once."""
    import pyarrow as pa

    indices = pa.array([0] * rows, pa.int32())
    return parquet({"image": pa.DictionaryArray.from_arrays(indices, pa.array([value]))}, store_schema=False)


HEADER = "image_a,image_b,prompt,preferred\n"
MAPPING = """\
task: image_preference
prompt: prompt
images: [image_a, image_b]
label: preferred
labels: {a: 1, b: 0}
meta: {more: more}
"""
SURROGATE = "\ud800"

TEXTS: dict[str, Make] = {
    "empty": lines(""),
    "white space": lines(" \n\n\t\n"),
    "not UTF-8": lines(b'{"id": "\xff"}\n'),
    "UTF-16": lines(json.dumps(PAIR).encode("utf-16")),
    "cut off": lines(json.dumps(PAIR)[:-9]),
    "deep lists": lines("[" * DEEP),
    "deep objects": lines('{"a":' * DEEP),
    "a deep value": lines(json.dumps(PAIR)[:-1] + ', "meta": ' + '{"a":' * 900 + "1" + "}" * 901 + "\n"),
    "a list": lines("[]\n"),
    "null": lines("null\n"),
    "a text": lines('"a"\n'),
    "NUL": lines(b"\x00" * 100),
    "NaN": lines(json.dumps(PAIR | {"weight": float("nan")})),
    "infinity": lines(json.dumps(PAIR | {"meta": {"a": float("inf")}})),
    "a number without an end": lines('{"id": ' + "9" * MB + "}"),
    "one id twice": rows(PAIR, PAIR),
    "no prompt": rows({"id": "a", "task": "qa"}),
    "an unknown field": rows(PAIR | {"imagse": []}),
    "an unknown task": rows(PAIR | {"task": "own"}),
}
TYPES: dict[str, Make] = {
    f"{field} is {value!r:.10}": rows(PAIR | {field: value})
    for field, value in {
        "id": 7, "task": ["a"], "prompt": None, "images": "1.png", "gold": [], "meta": 7, "weight": "x",
        "group_id": 1, "source": {}, "target": 3, "responses": [1], "videos": [[[["a"]]]],
    }.items()
}  # fmt: skip
NUMBERS: dict[str, Make] = {
    f"{name}, {what}": make_row(number)
    for what, number in {"10**400": HUGE, "1e999": float("1e999")}.items()
    for name, make_row in {
        "weight": lambda n: rows(PAIR | {"weight": n}),
        "p_first": lambda n: gold(PAIR, p_first=n),
        "ranks": lambda n: rows(PAIR | {"gold": {"ranks": [n, 1]}}),
        "score": lambda n: gold(SCORE, score=n),
        "scale": lambda n: rows(SCORE | {"meta": {"scale": [0, n]}}),
        "answer": lambda n: gold(QUESTION, answer=n),
        "choices": lambda n: rows(QUESTION | {"meta": {"choices": [n, 1]}}),
        "boxes": lambda n: gold(BOXES, boxes=[{"bbox_2d": [0, 0, n, 9], "label": "a"}]),
        "steps": lambda n: gold(STEPS, steps=[n]),
        "span": lambda n: rows(CRITIC | {"meta": {"span": [0, n]}}),
        "order": lambda n: rows(PAIR | {"meta": {"order": [n, 0]}}),
        "difficulty": lambda n: rows(PAIR | {"meta": {"difficulty": n}}),
    }.items()
}
HALVES: dict[str, Make] = {
    f"half a character in {name}": made
    for name, made in {
        "the id": rows(PAIR | {"id": SURROGATE}),
        "the prompt": rows(PAIR | {"prompt": SURROGATE}),
        "the group": rows(PAIR | {"group_id": SURROGATE}),
        "the source": rows(PAIR | {"source": SURROGATE}),
        "the target": rows(PAIR | {"target": SURROGATE}),
        "an answer": rows(ANSWERS | {"responses": [SURROGATE, "x"]}),
        "the kind": gold(CRITIC, type=SURROGATE),
        "the gold answer": gold(QUESTION, answer=SURROGATE, kind="text"),
        "a label": gold(BOXES, boxes=[{"bbox_2d": [0, 0, 9, 9], "label": SURROGATE}]),
        "meta": rows(PAIR | {"meta": {"skill": SURROGATE}}),
        "a name in meta": rows(PAIR | {"meta": {SURROGATE: 1}}),
        "a path": rows(PAIR | {"images": [f"{SURROGATE}.png", "2.png"]}),
    }.items()
}
FILES: dict[str, Make] = {
    "no such image": image("none.png"),
    "a folder as an image": image("film"),
    "NUL in a path": image("\0.png"),
    "a long path": image("a" * 5000),
    "a device": image("/dev/zero"),
    "a terminal": image("/dev/tty"),
    "a pipe": image("x.png", lambda f: os.mkfifo(f / "x.png")),
    "a link to a device": image("x.png", lambda f: (f / "x.png").symlink_to("/dev/zero")),
    "a link to itself": image("x.png", lambda f: (f / "x.png").symlink_to("x.png")),
    "a process's memory": image("/proc/self/mem"),
    "a text outside": image("../outside/secret.txt"),
    "a text outside by a link": image("x.png", lambda f: (f / "x.png").symlink_to("../outside/secret.txt")),
    "a text outside as a tarball": image("a.tar#x", lambda f: (f / "a.tar").symlink_to("../outside/secret.txt")),
    "a text outside as a table": image(
        "a.parquet#0/image", lambda f: (f / "a.parquet").symlink_to("../outside/secret.txt")
    ),
    "a film of pipes": lambda f: (rows(FILMS)(f), (f / "film" / "1.png").unlink(), os.mkfifo(f / "film" / "1.png"))[0],
    "a film without frames": rows(FILMS | {"videos": [[], "film"]}),
    "a film of films": rows(FILMS | {"videos": [["film"], "film"]}),
    "a film that is a file": rows(FILMS | {"videos": ["1.png", "film"]}),
    "a sparse file": image("x.png", lambda f: (f / "x.png").touch() or os.truncate(f / "x.png", 2**40)),
}
IMAGES: dict[str, Make] = {
    "no image": content(b"hello"),
    "an empty image": content(b""),
    "PostScript": content(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\nshowpage\n%%EOF\n"),
    "SVG": content(b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>', "x.svg"),
    **{
        f"{kind}, {what}": content(cut(encoded(kind)))
        for kind in ("PNG", "JPEG", "WEBP", "TIFF", "JPEG2000")
        for what, cut in {"cut off": lambda d: d[: len(d) // 2], "header only": lambda d: d[:24]}.items()
    },
    "a PNG of no pixels": content(png(0, 0)),
    "a PNG of all pixels": content(png(2**31 - 1, 2**31 - 1)),
    "a PNG of many pixels": content(png(30_000, 30_000)),
    "a PNG with a bomb as text": content(png(8, 8, zlib.compress(bytes(8 * 25)), (b"zTXt", b"a\0\0" + zeros(32 * MB)))),
    "a PNG with a bomb as profile": content(png(8, 8, b"", (b"iCCP", b"a\0\0" + zeros(32 * MB)))),
    "a PNG with a bomb as pixels": content(png(8, 8, zeros(32 * MB), depth=3)),
    "a PNG of unknown colours": content(png(8, 8, zlib.compress(bytes(8 * 25)), kind=7)),
}  # fmt: skip
TARBALLS: dict[str, Make] = {
    **{
        f"tar{suffix}, {what}": tarred(spoil(pack(tar(picture()))), suffix)
        for suffix, pack in PACKED.items()
        for what, spoil in {
            "cut off": lambda d: d[: len(d) // 3], "damaged head": lambda d: damaged(d, 0.0),
            "damaged middle": lambda d: damaged(d, 0.2, len(d) // 4),
        }.items()
    },
    **{f"tar{suffix} bomb": image(f"a.tar{suffix}#x.png", lambda f, s=suffix: (f / f"a.tar{s}").write_bytes(bomb(s)()))
       for suffix in (".gz", ".bz2", ".xz")},
    "tar, no such member": tarred(tar(picture("y.png"))),
    "tar, a link to itself": tarred(tar(member("x.png", kind=tarfile.LNKTYPE, link="x.png"))),
    "tar, a symbolic link to itself": tarred(tar(member("x.png", kind=tarfile.SYMTYPE, link="x.png"))),
    "tar, links in a circle": tarred(
        tar(member("x.png", kind=tarfile.LNKTYPE, link="y.png"), member("y.png", kind=tarfile.LNKTYPE, link="x.png"))
    ),
    "tar, a link to a file outside": tarred(
        tar(member("x.png", kind=tarfile.SYMTYPE, link="../outside/secret.txt"))
    ),
    "tar, a device": tarred(tar(member("x.png", kind=tarfile.CHRTYPE))),
    "tar, a folder": tarred(tar(member("x.png", kind=tarfile.DIRTYPE))),
    "tar, a negative size": tarred(_resized(tar(picture()), -1)),
    "tar, an endless name": tarred(_resized(tar(member("x", kind=tarfile.GNUTYPE_LONGNAME)), 2**62)),
    "tar, endless extensions": tarred(_resized(tar(member("x", kind=tarfile.XHDTYPE)), 2**62)),
    "tar, an endless member": tarred(_resized(tar(picture()), 2**62)),
    "tar, a sparse member": tarred(sparse()),
}  # fmt: skip
TABLES: dict[str, Make] = {
    "csv, an open quote": table(HEADER + '"1.png,2.png,red,a\n' * 9),
    "csv, a name twice": table("image_a,image_a,prompt,preferred\n1.png,2.png,red,a\n"),
    "csv, not UTF-8": table(HEADER.encode() + b"1.png,2.png,\xff,a\n"),
    "csv, NUL": table(HEADER + "1.png\0,2.png,red,a\n"),
    "csv, a path outside": table(HEADER + "../outside/secret.txt,2.png,red,a\n"),
    "csv, an absolute path": table(HEADER + "/etc/passwd,2.png,red,a\n"),
    "csv, a private address": table(HEADER + "http://127.0.0.1:9/x.png,2.png,red,a\n"),
    "csv, an address of a file": table(HEADER + "file:///etc/passwd,2.png,red,a\n"),
    "csv, a damaged data URI": table(HEADER + '"data:image/png;base64,%%%",2.png,red,a\n'),
    "json, cut off": table('[{"prompt": "red"', "pairs.json"),
    "json, deep": table("[" * DEEP, "pairs.json"),
    "json, a huge number": table('[{"image_a": "1.png", "image_b": "2.png", "prompt": "x", "preferred": "a", '
                                 f'"more": {HUGE}}}]', "pairs.json"),
    "json, numbers": table("[1, 2]", "pairs.json"),
    "jsonl, a huge number": table(json.dumps({"image_a": "1.png", "prompt": "x", "more": HUGE}), "pairs.jsonl"),
    "parquet, no parquet": table(b"PAR1" + bytes(40) + b"PAR1", "pairs.parquet"),
    "parquet, cut off": table(parquet({"prompt": ["x"] * 99})[:-20], "pairs.parquet"),
    "parquet, damaged": table(damaged(parquet({"prompt": [f"{i} {i**9}" for i in range(999)]}), 0.2), "pairs.parquet"),
    "parquet, no rows": table(parquet({"prompt": []}), "pairs.parquet"),
    "parquet cell, no parquet": cell("0/image", b"PAR1" + bytes(40) + b"PAR1"),
    "parquet cell, beyond the rows": cell("10000000000000000000000/image", lambda: parquet({"image": [b"x"]})),
    "parquet cell, no such column": cell("0/own", lambda: parquet({"image": [b"x"]})),
    "parquet cell, text": cell("0/image", lambda: parquet({"image": ["x"]})),
    "parquet cell, no image": cell("0/image", lambda: parquet({"image": [b"x"]})),
    "parquet cell, an empty list": cell("0/image/7", lambda: parquet({"image": [[b"x"]]})),
    "parquet cell, a bomb": cell("0/image", lambda: parquet({"image": [bytes(BOMB // 4)] * 4}, compression="zstd")),
    "parquet cell, one value many times": cell("0/image", lambda: repeated(20_000, bytes(MB))),
}  # fmt: skip
ARCHIVES: dict[str, Make] = {
    "unpack, no tarball": archive(b"hello"),
    "unpack, empty": archive(b""),
    "unpack, cut off": archive(gzip.compress(tar(picture()))[:99], ".gz"),
    "unpack, damaged": archive(damaged(lzma.compress(tar(picture())), 0.4), ".xz"),
    "unpack, a path outside": archive(tar(picture("../outside/x.png"))),
    "unpack, a pipe": archive(tar(member("x", kind=tarfile.FIFOTYPE))),
    "unpack, a link outside": archive(tar(member("x", kind=tarfile.SYMTYPE, link="../outside"), picture("x/y.png"))),
    "unpack, a device": archive(tar(member("x", kind=tarfile.CHRTYPE))),
    "unpack, a link to itself": archive(tar(member("x", kind=tarfile.LNKTYPE, link="x"))),
    "unpack, a file twice as a folder": archive(tar(picture("x"), picture("x/y.png"))),
    "unpack, an endless name": archive(_resized(tar(member("x", kind=tarfile.GNUTYPE_LONGNAME)), 2**62)),
    "unpack, a bomb": lambda f: archive(bomb(".xz")(), ".xz")(f),
}
MADE: dict[str, Make] = TEXTS | TYPES | NUMBERS | HALVES | FILES | IMAGES | TARBALLS | TABLES | ARCHIVES


def kind_of(file: Path) -> str:
    """What a file is made for: `samples`, `table` or `archive`."""
    return "archive" if ".tar" in file.name else "table" if file.stem == "pairs" else "samples"
