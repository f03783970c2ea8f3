"""Images in every form that people hold them in."""

from __future__ import annotations

import base64
import io
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from reasoner_rm.data import fetch_image
from reasoner_rm.data.images import open_image
from reasoner_rm.data.media import Media
from reasoner_rm.errors import InputError
from reasoner_rm.judge.image_inputs import as_images, as_media


def png(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


@pytest.fixture(scope="module")
def picture() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 40, 3), dtype=np.uint8))


def test_every_form_is_the_same_image(picture: Image.Image, tmp_path: Path) -> None:
    data, array = png(picture), np.asarray(picture)
    (tmp_path / "a.png").write_bytes(data)
    forms = {
        "path": tmp_path / "a.png",
        "text": str(tmp_path / "a.png"),
        "bytes": data,
        "data URI": "data:image/png;base64," + base64.b64encode(data).decode(),
        "PIL": picture,
        "PIL with a palette": picture.convert("RGB"),
        "uint8 HWC": array,
        "float CHW": torch.from_numpy(array.copy()).permute(2, 0, 1).float() / 255,
        "half CHW": (torch.from_numpy(array.copy()).permute(2, 0, 1).float() / 255).half(),
        "bfloat16 on its way": torch.from_numpy(array.copy()).permute(2, 0, 1).double() / 255,
        "uint8 tensor HWC": torch.from_numpy(array.copy()),
    }
    for name, form in forms.items():
        assert np.array_equal(np.asarray(open_image(as_media(form))), array), name


def test_every_spelling_of_a_data_uri_is_the_same_image(picture: Image.Image, tmp_path: Path) -> None:
    """As clients write them: the media type is not trusted, and base64 may be wrapped (MIME) or without padding."""
    data = png(picture)
    digits = base64.b64encode(data).decode()
    forms = {
        "as an address": f"data:image/png;base64,{digits}",
        "image alone": f"data:image;base64,{digits}",
        "no type": f"data:;base64,{digits}",
        "bytes": f"data:application/octet-stream;base64,{digits}",
        "upper case": f"DATA:IMAGE/PNG;BASE64,{digits}",
        "another type": f"data:image/jpeg;base64,{digits}",
        "a parameter": f"data:image/png;charset=utf-8;base64,{digits}",
        "wrapped": f"data:image/png;base64,{base64.encodebytes(data).decode()}",
        "wrapped with CRLF": "data:image/png;base64,\r\n" + base64.encodebytes(data).decode().replace("\n", "\r\n"),
        "no padding": f"data:image/png;base64,{digits.rstrip('=')}",
    }
    media = Media(tmp_path, tmp_path / "keep")
    for name, form in forms.items():
        assert as_media(form) == data, name
        assert Path(media.image(form)).read_bytes() == data, f"{name}, in a dataset"


def test_a_picture_that_was_turned_is_turned_in_every_form(picture: Image.Image) -> None:
    exif, out = Image.Exif(), io.BytesIO()
    exif[0x0112] = 6
    picture.save(out, "PNG", exif=exif)
    turned = np.rot90(np.asarray(picture), -1)
    for form in (out.getvalue(), Image.open(out)):
        once = open_image(as_media(form))
        assert np.array_equal(np.asarray(once), turned)
        assert np.array_equal(np.asarray(open_image(once)), turned), "not twice"


def test_pictures_that_cannot_be_taken_at_their_word(picture: Image.Image) -> None:
    """32-bit numbers would be clipped to black or white; what PIL opens late may turn out broken."""
    closed = picture.copy()
    closed.close()
    for image, says in (
        (Image.fromarray(np.full((4, 8), 0.5, np.float32)), "32-bit numbers"),
        (Image.fromarray(np.full((4, 8), 40_000, np.int32)), "32-bit numbers"),
        (Image.open(io.BytesIO(png(picture)[:900])), "broken image"),
        (closed, "broken image"),
        (Image.new("La", (4, 4)), "broken image"),
        (Image.new("RGB", (0, 4)), "of 0x4 pixels is none"),
    ):
        with pytest.raises(InputError, match=says):
            as_media(image)


def test_batches(picture: Image.Image) -> None:
    array = np.stack([np.asarray(picture), 255 - np.asarray(picture)])
    floats = torch.from_numpy(array).permute(0, 3, 1, 2).float() / 255
    for batch in (array, floats, floats.requires_grad_(), list(array), [picture, array[1]]):
        found = [np.asarray(open_image(m)) for m in as_images(batch)]
        assert np.array_equal(np.stack(found), array)


def test_a_file_is_read_when_it_is_given(picture: Image.Image, tmp_path: Path) -> None:
    """An answer belongs to what the file held then, whatever is written there later."""
    file = tmp_path / "a.png"
    picture.save(file)
    held = as_media(file)
    Image.new("RGB", (8, 8)).save(file)
    assert open_image(held).size == picture.size


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("https://example.com/a.png", "is an address"),
        ("//example.com/a.png", "is an address"),
        ("file:///etc/passwd", "is an address"),
        ("no/such.png", "no such image"),
        ("data:text/html;base64,AAAA", "not a base64 data URI of an image"),
        ("data:image/png,AAAA", "not a base64 data URI of an image"),
        ("data:image/png;base64,@@@", "broken base64"),
        ("data:image/png;base64,AAAAA", "broken base64"),
        ("data:image/png;base64,AA=A", "broken base64"),
        ("data:image/png;base64,A\u00e9AA", "broken base64"),
        ("data:image/png;base64;charset=utf-8,AAAA", "not a base64 data URI of an image"),
        (7, "int is not an image"),
        (None, "NoneType is not an image"),
        (np.zeros((4, 4), np.uint8), "an array of uint8 and shape (4, 4)"),
        (np.zeros((4, 4, 3), np.int64), "an array of int64"),
        (torch.full((3, 4, 4), 2.0), "floats from 2 to 2"),
        (torch.full((3, 4, 4), float("nan")), "scale images to 0..1"),
        (torch.full((3, 4, 4), -1.0), "scale images to 0..1"),
        (torch.zeros(3, 0, 4), "an array of float32"),
    ],
)
def test_what_is_no_image(value: object, says: str) -> None:
    with pytest.raises(InputError, match=says.replace("(", r"\(").replace(")", r"\)")):
        as_media(value)


def test_a_private_address_is_never_asked() -> None:
    for address in ("http://127.0.0.1/a.png", "http://169.254.169.254/latest", "http://[::1]/a", "http://10.0.0.1/"):
        with pytest.raises(InputError, match="no public host"):
            as_media(address, urls=True)
    with pytest.raises(InputError, match="not an http address"):
        as_media("file:///etc/passwd", urls=True)


def test_a_list_says_which() -> None:
    with pytest.raises(InputError, match="image 1: int is not an image"):
        as_images([b"x", 7])
    with pytest.raises(InputError, match="one image instead of a list"):
        as_images("a.png")
    with pytest.raises(InputError, match="images of shape"):
        as_images(torch.zeros(3, 4, 4))


@pytest.fixture
def inner() -> Iterator[tuple[str, list[str]]]:
    """A server on loopback that sends whoever asks for /out to its own /secret; its address, and what it was asked."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(302 if self.path in ("/out", "/nowhere") else 200)
            if self.path != "/nowhere":
                self.send_header("location", f"http://127.0.0.1:{server.server_port}/secret")
            self.send_header("content-length", "2")
            self.end_headers()
            self.wfile.write(b"o")
            time.sleep(0.3 * (self.path == "/slow"))
            self.wfile.write(b"k")

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://public.test:{server.server_port}", asked
        server.shutdown()


def test_a_redirect_into_the_network_is_not_followed(
    inner: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = fetch_image.public_address
    monkeypatch.setattr(fetch_image, "public_address", lambda h, p: "127.0.0.1" if h == "public.test" else real(h, p))
    address, asked = inner
    assert as_media(f"{address}/fine", urls=True) == b"ok"
    with pytest.raises(InputError, match="no public host"):
        as_media(f"{address}/out", urls=True)
    with pytest.raises(InputError, match="answers 302"):
        as_media(f"{address}/nowhere", urls=True)
    monkeypatch.setattr(fetch_image, "TOTAL_TIMEOUT", 0.2)
    with pytest.raises(InputError, match="takes more than"):
        as_media(f"{address}/slow", urls=True)
    assert asked == ["/fine", "/out", "/nowhere", "/slow"]


def test_a_name_is_looked_up_once(inner: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    """What was checked is what is asked, though the name leads inside by then; one bad address of several is enough."""
    looked_up: list[str] = []

    def lookup(host: str, port: int, *_: object, **__: object) -> list[tuple[object, ...]]:
        looked_up.append(host)
        ips = {
            "public.test": ["192.0.0.9" if len(looked_up) == 1 else "127.0.0.1"],
            "both.test": ["1.1.1.1", "10.0.0.1"],
        }
        return [(2, 1, 6, "", (ip, port)) for ip in ips.get(host, [host])]

    monkeypatch.setattr(fetch_image.socket, "getaddrinfo", lookup)
    monkeypatch.setattr(fetch_image, "TIMEOUT", 0.5)
    address, asked = inner
    with pytest.raises(InputError, match="cannot fetch"):
        as_media(f"{address}/secret", urls=True)
    assert looked_up[0] == "public.test" and "public.test" not in looked_up[1:] and not asked
    with pytest.raises(InputError, match="no public host"):
        as_media("http://both.test/a.png", urls=True)
