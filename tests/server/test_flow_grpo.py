"""Flow-GRPO's remote rewards: its own way of asking, and pickles that want more than to be read."""

from __future__ import annotations

import os
import pickle
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from fake_engine import COLOURS, picture, seeing_judge
from judge_server import encoded, serving

from reasoner_rm.cli import main
from reasoner_rm.server import safe_pickle
from reasoner_rm.server.app import create_app

pytestmark = pytest.mark.server

EXAMPLES = Path(__file__).parents[2] / "examples"
JPEGS = [encoded(picture(c), "JPEG") for c in ("red", "blue", "red")]
PROMPTS = ["a red thing"] * 3


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serving(create_app(seeing_judge(is_base_model=True), flow_grpo_pickle=True)) as address:
        yield address


def asked(url: str, body: Any, **how: Any) -> requests.Response:
    return requests.post(url, data=body if isinstance(body, bytes) else pickle.dumps(body, **how), timeout=60)


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_unified_rewards_client_and_genevals(url: str, protocol: int) -> None:
    """Prompts come as numpy cuts them, or stand in the metadata."""
    rows = [{"tag": "colors", "include": [{"class": "thing", "count": 1}], "prompt": "a red thing"}] * 3
    for texts in (
        {"prompts": np.array_split(PROMPTS, 1)[0]},
        {"prompts": list(np.array(PROMPTS))},
        {"prompts": np.array(PROMPTS, dtype=object)},
        {"prompts": np.array(PROMPTS, dtype=">U11")},
        {"prompts": PROMPTS},
        {"meta_datas": list(np.array_split(rows, 1)[0]), "only_strict": True},
    ):
        found = pickle.loads(asked(url, {"images": JPEGS, **texts}, protocol=protocol).content)
        for name in ("outputs", "scores", "rewards", "strict_rewards"):
            assert found[name] == [1.0, 0.0, 1.0]
        assert found["group_rewards"] == found["group_strict_rewards"] == {} and found["parsed_mask"] == [True] * 3


def test_texts_are_what_was_pickled() -> None:
    for texts in (["a", "ü 😀 \n", "b" * 40], ["x"], ["日本", ""]):
        for form in (texts, np.array(texts), list(np.array(texts)), np.array(texts, dtype=object)):
            for protocol in (3, 4, 5):
                assert safe_pickle.texts(safe_pickle.read(pickle.dumps(form, protocol=protocol))) == texts
    plain = {"a": [1, -7, 2**80, 1.5, None, True, b"\0", {"b": ()}], "c": ((1, 2), "x" * 300, (1, 2, 3, 4))}
    for protocol in (3, 4, 5):
        assert safe_pickle.read(pickle.dumps(plain, protocol=protocol)) == plain


def test_the_example(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    import flow_grpo_remote

    drawn = np.stack([np.asarray(picture(c)) for c in ("red", "blue")] * 40)
    scores, _ = flow_grpo_remote.remote_score(url)(drawn, PROMPTS[:1] * 80, [{}] * 80)
    assert scores == [1.0, 0.0] * 40, "two batches"
    flow_grpo_remote.main(["--url", url])
    for name in ("flow_grpo_remote", "drawing"):
        sys.modules.pop(name)


class Evil:
    """Runs a command when it is unpickled."""

    def __init__(self, mark: Path):
        self.command = f"touch {mark}"

    def __reduce__(self) -> Any:
        return os.system, (self.command,)


def test_a_pickle_that_would_run_something(url: str, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    for evil in (
        Evil(mark), {"images": JPEGS, "prompts": Evil(mark)}, {"images": [Evil(mark)], "prompts": ["a"]},
        {"images": JPEGS, "prompts": PROMPTS, "more": [Evil(mark)]},
        {"images": JPEGS, "prompts": np.array([Evil(mark)])},
    ):  # fmt: skip
        for protocol in range(6):
            answer = asked(url, evil, protocol=protocol)
            assert answer.status_code == 400 and answer.headers["content-type"] == "application/json"
            assert protocol < 3 or "it names 'posix.system'" in answer.json()["error"]["message"]
    assert not mark.exists()
    pickle.loads(pickle.dumps(Evil(mark)))
    assert mark.exists(), "it would have"


def test_pickles_made_to_exhaust(url: str) -> None:
    """Ten bytes that make a memo of gigabytes, a key that is a nest, a body of nothing but marks, lists of lists
    that would be billions when counted, and what is no such pickle at all."""
    laughs: list[Any] = ["ha"]
    for _ in range(60):
        laughs = [laughs, laughs]
    long = np.array(["x" * 90_000])[0]
    nest = b"\x80\x04}(" + b")" + b"\x85" * 90_000 + b"K\x01u."
    began = time.process_time()
    for body in (
        b"\x80\x04Nr\xff\xff\xff\x7f.", nest, b"(" * 1_000_000, b"\x80\x04]" + b"N" * 1_000_000 + b".",
        b"\x80\x05\x96" + b"\xff" * 7 + b"\x7f", b"\x80\x04\x8e" + b"\xff" * 7 + b"\x7f.", b"", b".", b"\x80\x04.",
        b"\x80\x04(.", b"\x80\x04u.", b"\x80\x04N\x93.", b"\x80\x04NNR.", b"\x80\x04NNb.", b"{}", b"\x80\x7f}.",
        {"images": laughs, "prompts": laughs}, {"images": [], "prompts": []}, {"images": JPEGS, "prompts": "abc"},
        {"images": JPEGS * 30, "prompts": PROMPTS * 30}, {"images": [b"GIF89a"] * 3, "prompts": PROMPTS},
        {"images": JPEGS}, {"images": JPEGS, "prompts": ["x" * 30_000] * 3}, {"images": JPEGS, "prompts": PROMPTS[:2]},
        {"images": JPEGS, "prompts": np.array(["x"] * 500_000)}, {"images": JPEGS, "prompts": [long] * 9_000},
        {"images": JPEGS, "prompts": [long] * 900}, {"images": JPEGS, "prompts": np.arange(3)}, [JPEGS, PROMPTS],
        {"images": JPEGS, "prompts": [1]}, "images", None,
    ):  # fmt: skip
        answer = asked(url, body)
        assert answer.status_code in (400, 422), body[:40] if isinstance(body, bytes) else body
    assert time.process_time() - began < 20


def test_broken_pickles_are_turned_down(url: str) -> None:
    """Bytes of an honest one, changed, cut or doubled."""
    honest = pickle.dumps({"images": JPEGS[:1], "prompts": np.array(["red"])})
    rng = random.Random(0)
    session = requests.Session()
    for _ in range(300):
        body = bytearray(honest)
        for _ in range(rng.randint(1, 4)):
            place = rng.randrange(len(body))
            piece = slice(place, place + rng.randint(1, 30))
            body[piece] = rng.choice((bytes([rng.randrange(256)]), b"", 2 * body[piece]))
        status = session.post(url, data=bytes(body), timeout=60).status_code
        assert status in (200, 400, 422), bytes(body)


def test_who_may_ask(url: str) -> None:
    body = pickle.dumps({"images": JPEGS, "prompts": PROMPTS})
    assert requests.post(url, data=body, headers={"Origin": "http://evil.example"}, timeout=60).status_code == 403
    assert requests.get(url, timeout=60).headers["content-type"].startswith("text/html"), "the page is still there"
    with serving(create_app(seeing_judge(is_base_model=True))) as plain:
        assert requests.post(plain, data=body, timeout=60).status_code == 405, "only where it was asked for"


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.7", "::", "judge.lab"])
def test_it_is_served_on_loopback_only(host: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["serve", "--model", "none", "--host", host, "--flow-grpo-pickle"])
    told = capsys.readouterr()
    assert ended.value.code == 2 and not told.out
    assert told.err.count("\n") == 1 and "allowed on loopback only" in told.err and "use --host 127.0.0.1" in told.err


def test_colours_are_told_apart(url: str) -> None:
    """Every answer belongs to its own image."""
    images = [encoded(picture(c), "JPEG") for c in COLOURS]
    for colour in COLOURS:
        found = pickle.loads(asked(url, {"images": images, "prompts": np.array([f"a {colour} thing"] * 6)}).content)
        assert found["outputs"] == [float(c == colour) for c in COLOURS]
