"""Bodies up to the limit, made to be slow: others are answered meanwhile, and memory grows by a few bodies at most."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import httpx
import psutil
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from reasoner_rm.server.errors import ApiError
from reasoner_rm.server.json_body import MAX_VALUES, MAX_WIDE, check_size, read_json

HELPERS = str(Path(__file__).parents[1] / "helpers")
SERVER = """
import sys
sys.path.insert(0, sys.argv[1])
from fake_engine import seeing_judge
from reasoner_rm.server.app import create_app
from reasoner_rm.server.runner import run
run(create_app(seeing_judge()), "127.0.0.1", 0)
"""
MB = 2**20
KIND = ("application/json", "multipart/form-data; boundary=b")
PATHS = ("/v1/compare", "/v1/verdicts", "/v1/rank", "/v1/score", "/v1/chat/completions", "/get_reward_mllm")


@dataclass
class Apart:
    """A server in a process of its own, so that this one's work does not slow it down."""

    client: httpx.Client
    process: psutil.Process

    def send(self, path: str, body: bytes) -> tuple[int, float, int]:
        """The status of a body, the longest that /health took meanwhile in seconds, and the bytes that the memory
        grew."""
        waits, sizes, over = [0.0], [0], threading.Event()

        def watch() -> None:
            with httpx.Client(base_url=self.client.base_url, timeout=60) as other:
                other.get("/health")
                while not over.is_set():
                    started = time.monotonic()
                    other.get("/health")
                    waits.append(time.monotonic() - started)
                    sizes.append(self.process.memory_info().rss)
                    time.sleep(0.01)

        before = self.process.memory_info().rss
        watcher = threading.Thread(target=watch)
        watcher.start()
        status = self.client.post(
            path, content=body, headers={"content-type": KIND[path.endswith("upload")]}
        ).status_code
        over.set()
        watcher.join()
        return status, max(waits), max(sizes) - before


@pytest.fixture(scope="module")
def apart() -> Iterator[Apart]:
    command = [sys.executable, "-c", SERVER, HELPERS]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            url = process.stdout.readline().strip()
            with httpx.Client(base_url=url, timeout=120) as client:
                yield Apart(client, psutil.Process(process.pid))
        finally:
            process.kill()


def filled(head: str, unit: str, tail: str, size: int) -> bytes:
    """A body of about a size: a text repeated between two others."""
    return (head + unit * ((size - len(head)) // len(unit)) + tail).encode()


SLOW = {
    "numbers as frames": ("/v1/verdicts", '{"samples": [{"prompt": "x", "videos": [[', "1,", "1]]}]}"),
    "empty lists": ("/v1/verdicts", '{"samples": [', "[],", "[]]}"),
    "empty objects": ("/v1/chat/completions", '{"messages": [', "{},", "{}]}"),
    "empty texts": ("/v1/rank", '{"caption": "x", "images": [', '"",', '""]}'),
    "one unknown name": ("/v1/compare", "{", '"a":1,', '"b":1}'),
    "ignored numbers": ("/v1/chat/completions", '{"messages": [], "metadata": [', "1,", "1]}"),
    "numbers in a prompt": ("/get_reward_mllm", '{"query": ["x"], "prompts": ["[', "1,", '1]"]}'),
    "escapes": ("/v1/compare", '{"caption": "', "\\n", '"}'),
    "escaped quotes": ("/v1/compare", '{"caption": "', '\\"', '"}'),
    "escaped backslashes": ("/v1/compare", '{"caption": "', "\\\\", '"}'),
    "wide characters": ("/v1/compare", '{"caption": "', "\N{GRINNING FACE}", '"}'),
    "one wide character": ("/v1/chat/completions", '{"messages": [], "user": "\N{GRINNING FACE}', "a", '"}'),
    "digits": ("/v1/compare", '{"votes": 1.', "9", "}"),
    "white space": ("/v1/compare", "{", " ", "}"),
    "deep lists": ("/v1/score", "", "[", ""),
    "deep objects": ("/v1/score", "", '{"a":', ""),
    "an upload": ("/v1/compare/upload", "--b\r\n", "X: y\r\n", ""),
    "an image": ("/v1/compare", '{"caption": "red", "image_b": "", "image_a": "data:image/png;base64,', "AAAA", '"}'),
}


def is_harmless(apart: Apart, path: str, body: bytes) -> bool:
    """Whether it is refused while /health is answered within 0.5 s, and with at most four times its memory beside what
    small requests take. The machine may be busy: of three tries the fastest counts."""
    for _ in range(3):
        status, wait, grown = apart.send(path, body)
        assert 400 <= status < 500, status
        assert grown <= 4 * len(body) + 20 * MB, f"{path}: {grown / MB:.0f} MB for {len(body) / MB:.1f} MB"
        if wait < 0.5:
            return True
    return False


@pytest.mark.server
@pytest.mark.parametrize("name", SLOW)
def test_a_body_at_the_limit_halts_nobody(apart: Apart, name: str) -> None:
    path, *parts = SLOW[name]
    assert is_harmless(apart, path, filled(*parts, size=32 * MB - 100))


@pytest.mark.server
@pytest.mark.parametrize("unit", ["1,", '"a":1,', "[[]],", '{"type":"text","text":1},'])
@pytest.mark.parametrize("path", PATHS)
def test_values_just_within_the_limit_halt_nobody(apart: Apart, path: str, unit: str) -> None:
    """Each may be an error of its own."""
    lists = ("samples", "images", "messages", "query", "prompts", "captions")
    copies = 1 + len(lists) * (2 if path == "/v1/verdicts" else 1)
    size = (MAX_VALUES - 200) // (sum(map(unit.count, ",:[{")) * copies) * len(unit)
    many = filled("{" if ":" in unit[:5] else "[", unit, '"z":1}' if ":" in unit[:5] else "1]", size).decode()
    values = {"/v1/verdicts": f'[{{"prompt":"x","videos":[{many}],"responses":{many}}}]'}.get(path, many)
    body = "{" + ",".join(f'"{name}":{values}' for name in lists) + f', "caption":"x", "more":{many}}}'
    check_size(body.encode())
    assert is_harmless(apart, path, body.encode())


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.text(alphabet='a\\"/,:[]{}\n\u4e00\U0001f600', max_size=6),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=20,
)


@pytest.mark.server
@settings(max_examples=25, phases=[Phase.generate], derandomize=True)
@given(value=JSON, path=st.sampled_from(PATHS), size=st.integers(1, 32), wrapped=st.booleans())
def test_bodies_of_every_kind_halt_nobody(apart: Apart, value: Any, path: str, size: int, wrapped: bool) -> None:
    """A value that is repeated up to a size in MB."""
    names = ("samples", "images", "messages", "query", "caption")
    head, tail = ("{" + ",".join(f'"{n}": 1' for n in names[:-1]) + ', "caption": [', "1]}") if wrapped else ("[", "1]")
    assert is_harmless(apart, path, filled(head, json.dumps(value, ensure_ascii=False) + ",", tail, size * MB - 1000))


def parts(value: Any) -> int:
    """The values and names in a value, empty lists and objects twice."""
    match value:
        case dict():
            return 1 + sum(1 + parts(item) for item in value.values()) + (not value)
        case list():
            return 1 + sum(map(parts, value)) + (not value)
    return 1


@given(value=JSON, ascii=st.booleans(), indent=st.sampled_from([None, 0, 2]), piece=st.integers(1, 9))
def test_every_value_is_counted(value: Any, ascii: bool, indent: int | None, piece: int) -> None:
    """Wherever the text is cut; and it is read as by Python."""
    text = json.dumps(value, ensure_ascii=ascii, indent=indent).encode()
    limit, body = parts(value), "reasoner_rm.server.json_body"
    with mock.patch(f"{body}.PIECE", piece):
        with mock.patch(f"{body}.MAX_VALUES", limit):
            check_size(text)
        with mock.patch(f"{body}.MAX_VALUES", limit - 1), pytest.raises(ApiError, match="values"):
            check_size(text)
    assert read_json(text) == value


@pytest.mark.parametrize(
    "text", [b"", b"{", b"\xff", b"\xef\xbb\xbf{}", "{}".encode("utf-16"), b'"\\ud800"', b'{"\\udc00": 1}', b"[" * 300,
             b"9" * 5000, b"{} {}", b"[" + b"1," * MAX_VALUES + b"1]"]
)  # fmt: skip
def test_other_texts_are_refused(text: bytes) -> None:
    with pytest.raises(ApiError) as refused:
        read_json(text)
    assert refused.value.status == 422 and len(refused.value.message) < 200


@pytest.mark.parametrize("wide", ["\N{GRINNING FACE}", "\u00fc", "\\u00fc"])
@pytest.mark.parametrize("before", [0, 1, 70_000, MAX_WIDE, MAX_WIDE + 69_999])
def test_a_long_text_is_ascii(wide: str, before: int) -> None:
    """Wherever its wide character is. Texts beside it may have some."""
    data = "a" * before, "a" * (MAX_WIDE + 70_000 - before)
    with pytest.raises(ApiError, match="beyond ASCII"):
        read_json(f'{{"a": "{data[0]}{wide}{data[1]}"}}'.encode())
    beside = f'{{"{wide}": "{data[0]}{data[1]}", "a\\"": "{wide}"}}'
    assert read_json(beside.encode()) == json.loads(beside)
