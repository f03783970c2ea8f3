"""Requests that nobody should send: each has to be answered with 4xx, soon, and without much memory."""

from __future__ import annotations

import base64
import io
import itertools
import json
import random
import struct
import zlib
from collections.abc import Iterator
from typing import Any, NamedTuple

from PIL import Image


class Hostile(NamedTuple):
    """``content`` posted to a path; ``name`` says what is wrong with it."""

    name: str
    path: str
    content: bytes
    kind: str = "application/json"


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, data: bytes = b"", *extra: bytes) -> bytes:
    """A PNG whose header says what it likes."""
    head = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(extra) + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")


def good() -> bytes:
    out = io.BytesIO()
    Image.effect_noise((64, 64), 80).convert("RGB").save(out, "PNG")
    return out.getvalue()


def bad_images() -> Iterator[tuple[str, bytes]]:
    """What is no image, or one that must not be unpacked."""
    whole = good()
    zeros = zlib.compress(bytes(3 * 4000 * 4000 + 4000), 9)
    yield "empty", b""
    yield "text", b"hello"
    for share in (0.1, 0.3, 0.5, 0.8, 0.95):
        yield f"truncated to {share:.0%}", whole[: int(len(whole) * share)]
    yield "100k pixels wide", png(100_000, 100, zeros)
    yield "a strip", png(1, 9000, zeros)
    yield "a bomb of 60000 x 60000", png(60_000, 60_000, zeros)
    yield "a header of 2^31 pixels", png(2**31 - 1, 2**31 - 1, zeros)
    yield "a header of no pixels", png(0, 0, zeros)
    yield "far less data than the header says", png(4000, 4000, zlib.compress(b"abc"))
    yield (
        "a text chunk that unpacks to 300 MB",
        png(8, 8, b"", _chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(3 * 10**8), 9))),
    )
    yield "SVG", b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>'
    yield "HTML that is a GIF too", b"GIF89a/*<script>alert(1)</script>*/=1;"
    yield "PostScript", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n(/etc/passwd) (r) file\n"
    yield "PDF", b"%PDF-1.4\n1 0 obj\n<<>>\nendobj\n"
    yield "a ZIP behind a PNG's signature", b"\x89PNG\r\n\x1a\nPK\x03\x04" + bytes(60)
    tiff = io.BytesIO()
    Image.new("RGB", (8, 8)).save(tiff, "TIFF")
    yield "a format that is not taken", tiff.getvalue()
    yield "a JPEG's head", b"\xff\xd8\xff\xe0\x00\x10JFIF\x00" + bytes(20)
    yield "pickle", b"\x80\x04cos\nsystem\n(S'true'\ntR."
    rng = random.Random(0)
    for i in range(6):
        flipped = bytearray(whole)
        for _ in range(40):
            flipped[rng.randrange(8, 60)] = rng.randrange(256)
        yield f"bits flipped in the header, {i}", bytes(flipped)


REFERENCES = (
    "/etc/passwd", "../../etc/passwd", "file:///etc/passwd", "http://127.0.0.1:22/", "http://169.254.169.254/latest",
    "https://example.com/a.png", "//example.com/a.png",
    "data:text/html;base64,PGI+", "data:image/png,abc", "gopher://x/",
    "data:image/png;base64,@@@@", "data:image/png;base64", "data:,", "a.parquet#0/image", "a.tar#x.png", "\x00",
    "data:image/svg+xml;base64,PHN2Zy8+", "ftp://[::1]/a", "http://[", "C:\\windows\\win.ini", "\\\\host\\share\\a.png",
)  # fmt: skip


def uri(data: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(data).decode()


def bodies() -> Iterator[Hostile]:
    """Every hand-made one once."""
    fine = uri(good())
    compare: dict[str, Any] = {"caption": "a red thing", "image_a": fine, "image_b": fine}

    def post(name: str, body: Any, path: str = "/v1/compare") -> Hostile:
        return Hostile(name, path, json.dumps(body).encode())

    def chat(name: str, image: str, model: str = "judge") -> Hostile:
        shown = [{"type": "image_url", "image_url": {"url": u}} for u in (fine, image)]
        message = {"role": "user", "content": [{"type": "text", "text": "red"}, *shown]}
        return post(name, {"model": model, "messages": [message]}, "/v1/chat/completions")

    for name, data in bad_images():
        yield post(f"image: {name}", {**compare, "image_b": uri(data)})
        yield chat(f"chat image: {name}", uri(data), "judge:raw")
        yield post(f"rank image: {name}", {"caption": "red", "images": [fine, uri(data)]}, "/v1/rank")
        yield Hostile(
            f"upload: {name}", "/v1/compare/upload", _form({"caption": b"red"}, {"image_a": good(), "image_b": data}),
            f"multipart/form-data; boundary={BOUNDARY}",
        )  # fmt: skip
    for reference in REFERENCES:
        yield post(f"reference: {reference!r}", {**compare, "image_a": reference})
        yield chat(f"chat reference: {reference!r}", reference)
    for name, change in {
        "no caption": {"caption": ""}, "a caption of 1 MB": {"caption": "x" * 2**20}, "a number": {"caption": 7},
        "votes 0": {"votes": 0}, "votes 10^30": {"votes": 10**30}, "votes NaN": {"votes": float("nan")},
        "unknown field": {"image_c": fine}, "seed -1": {"seed": -1}, "null image": {"image_a": None},
        "image as a list": {"image_a": [fine]}, "NUL in the caption": {"caption": "a\x00b"},
        "half a character": {"caption": "a\ud800b"}, "p_first": {"p_first": "logits"}, "no stream": {"stream": "maybe"},
    }.items():  # fmt: skip
        yield post(name, {**compare, **change})
    deep = b"[" * 200_000 + b"]" * 200_000
    nested = b'{"a":' * 50_000 + b"1" + b"}" * 50_000
    for path in ("/v1/compare", "/v1/rank", "/v1/score", "/v1/verdicts", "/v1/chat/completions", "/get_reward_mllm"):
        for name, content in {
            "nothing": b"", "no JSON": b"{", "deep lists": deep, "deep objects": nested, "null": b"null",
            "a list": b"[]",
            "a number": b"1e999", "UTF-16": "{}".encode("utf-16"), "bad UTF-8": b'{"caption": "\xff\xfe"}',
            "a long number": b'{"votes": ' + b"9" * 100_000 + b"}", "many keys": _many(), "a bare text": b'"x"',
        }.items():  # fmt: skip
            yield Hostile(f"{name} to {path}", path, content)
        yield Hostile(f"a form to {path}", path, b"caption=red", "application/x-www-form-urlencoded")
        yield Hostile(f"gzip to {path}", path, zlib.compress(bytes(10**6)), "application/json")
    yield post("too many images", {"caption": "red", "images": [fine] * 33}, "/v1/rank")
    yield post("too many comparisons", {"caption": "red", "images": [fine] * 32}, "/v1/rank")
    yield post("no images", {"caption": "red", "images": []}, "/v1/rank")
    yield post("unequal", {"images": [fine], "captions": ["a", "b"]}, "/v1/score")
    yield post("unknown task", {"samples": [{"task": "murder", "prompt": "x", "images": [fine, fine]}]}, "/v1/verdicts")
    yield post(
        "one image", {"samples": [{"task": "image_preference", "prompt": "x", "images": [fine]}]}, "/v1/verdicts"
    )
    yield post("three images", {"samples": [{"prompt": "x", "images": [fine] * 3}]}, "/v1/verdicts")
    yield post("no comparison", {"samples": [{"task": "qa", "prompt": "x"}]}, "/v1/verdicts")
    yield post("messages of nobody", {"messages": []}, "/v1/chat/completions")
    yield post("tools", {"messages": [{"role": "user", "content": "x"}], "tools": [{}]}, "/v1/chat/completions")
    yield post(
        "a part without text", {"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "/v1/chat/completions"
    )
    yield post("prompts that are no messages", {"query": ["a"], "prompts": ["[1"]}, "/get_reward_mllm")
    for name, content in {
        "no boundary": b"x", "a form cut off": _form({"caption": b"red"}, {"image_a": good()})[:-40],
        "ten thousand parts": _form({f"p{i}": b"1" for i in range(10_000)}, {}),
        "a long header": b"--" + BOUNDARY.encode() + b"\r\nX: " + b"y" * 200_000,
    }.items():  # fmt: skip
        yield Hostile(f"upload: {name}", "/v1/compare/upload", content, f"multipart/form-data; boundary={BOUNDARY}")
    yield Hostile(
        "upload: a boundary of 10 kB", "/v1/compare/upload", b"x", "multipart/form-data; boundary=" + "b" * 10_000
    )
    yield Hostile("a path that is not there", "/v1/../../etc/passwd", b"{}")


BOUNDARY = "----hostile"


def _form(fields: dict[str, bytes], files: dict[str, bytes]) -> bytes:
    parts = [(f'name="{k}"', v) for k, v in fields.items()]
    parts += [(f'name="{k}"; filename="../../{k}.png"', v) for k, v in files.items()]
    lines = [f"--{BOUNDARY}\r\nContent-Disposition: form-data; {head}\r\n\r\n".encode() + body for head, body in parts]
    return b"\r\n".join([*lines, f"--{BOUNDARY}--\r\n".encode()])


def _many() -> bytes:
    return json.dumps({f"k{i}": i for i in range(50_000)}).encode()


def endlessly(seed: int = 0) -> Iterator[Hostile]:
    """The hand-made ones, then again with a few bytes of the body changed, added or lost."""
    every = list(bodies())
    yield from every
    rng = random.Random(seed)
    for known in itertools.cycle(every):
        content = bytearray(known.content)
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(len(content) + 1)
            match rng.randrange(3):
                case 0:
                    content[at:at] = rng.randbytes(rng.randint(1, 4))
                case 1:
                    del content[at : at + rng.randint(1, 30)]
                case _:
                    content[at : at + 1] = rng.randbytes(1)
        yield Hostile(f"{known.name}, changed", known.path, bytes(content), known.kind)
