"""The judge over HTTP, asked by real clients on loopback."""

from __future__ import annotations

import contextlib
import json
import random
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import openai
import pytest
from fake_engine import COLOURS, pair, picture, seeing_judge
from judge_server import encoded, serving, uri, user
from raw_http import eventually

from reasoner_rm import Judge
from reasoner_rm.errors import InputError
from reasoner_rm.server import connection_limits
from reasoner_rm.server.app import create_app
from reasoner_rm.server.errors import ApiError
from reasoner_rm.server.limits import Limits
from reasoner_rm.server.memory import HeldBytes, MemoryBudget

pytestmark = pytest.mark.server

RED, BLUE, GREEN = (uri(picture(c)) for c in ("red", "blue", "green"))


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serving(create_app(seeing_judge(is_base_model=True), name="eyes")) as address:
        yield address


@pytest.fixture
def ask(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, timeout=60) as client:
        yield client


def client(url: str, **settings: object) -> openai.OpenAI:
    settings = {"api_key": "none", "max_retries": 0, **settings}
    return openai.OpenAI(base_url=f"{url}/v1", **settings)  # type: ignore[arg-type]


def test_compare_as_json_and_as_a_form(ask: httpx.Client) -> None:
    body = {"caption": "a red thing", "image_a": BLUE, "image_b": RED}
    verdict = ask.post("/v1/compare", json=body).json()
    assert verdict == {
        "preferred": 1, "p_first": 0.0, "consistent": True, "votes": [1, 1], "parsed": True,
        "reasoning": "The caption asks for a red thing. Image 1 is blue. Image 2 is red.",
        "reasonings": [
            "The caption asks for a red thing. Image 1 is blue. Image 2 is red.",
            "The caption asks for a red thing. Image 2 is red. Image 1 is blue.",
        ],
    }  # fmt: skip
    files = {name: encoded(picture(c), "JPEG") for name, c in (("image_a", "blue"), ("image_b", "red"))}
    assert ask.post("/v1/compare/upload", data={"caption": "a red thing"}, files=files).json() == verdict
    three = ask.post("/v1/compare", json={**body, "votes": 3, "both_orders": False}).json()
    assert three["votes"] == [1, 1, 1] and three["consistent"] is None


def test_reasoning_arrives_before_the_verdict(ask: httpx.Client) -> None:
    body = {"caption": "a red thing", "image_a": BLUE, "image_b": RED, "stream": True}
    with ask.stream("POST", "/v1/compare", json=body) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        events = [e.split("\n") for e in answer.read().decode().split("\n\n") if e]
    names = [e[0] for e in events]
    assert names == ["event: reasoning"] * (len(names) - 1) + ["event: verdict"] and len(names) > 5
    said = "".join(json.loads(e[1][6:])["delta"] for e in events[:-1])
    assert said.startswith("<think>The caption asks for a red thing. Image 1 is blue.")
    assert json.loads(events[-1][1][6:])["preferred"] == 1


def test_rank_score_and_verdicts(ask: httpx.Client) -> None:
    images = [RED, BLUE, GREEN]
    ranked = ask.post("/v1/rank", json={"caption": "green, then red, then blue", "images": images}).json()
    assert ranked["order"] == [2, 0, 1] and ranked["comparisons"] == 3 and ranked["method"] == "round_robin"
    scored = ask.post("/v1/score", json={"images": images, "captions": ["a red thing"] * 3}).json()
    assert scored["scores"] == [5.0, 1.0, 1.0] and scored["mode"] == "pointwise"
    alone = ask.post("/v1/score", json={"images": [RED], "captions": ["x"], "mode": "win_rate"}).json()
    assert alone["scores"] == [None] and alone["parsed_mask"] == [False]
    samples = [
        {"task": "edit_preference", "prompt": "make it red", "images": [BLUE, BLUE, RED]},
        {"task": "edit_preference", "prompt": "make it red", "images": [BLUE, RED, BLUE]},
    ]
    found = ask.post("/v1/verdicts", json={"samples": samples}).json()["verdicts"]
    assert len(found) == 2 and all(v["parsed"] for v in found)
    video = {"task": "video_preference", "prompt": "red", "videos": [[BLUE, BLUE], [RED, RED]]}
    assert ask.post("/v1/verdicts", json={"samples": [video]}).json()["verdicts"][0]["parsed"]


def test_the_openai_client(url: str) -> None:
    ai = client(url)
    assert [m.id for m in ai.models.list()] == ["eyes", "eyes:raw"]
    answer = ai.chat.completions.create(model="eyes", messages=[user("a red thing", BLUE, RED)])  # type: ignore[list-item]
    text = answer.choices[0].message.content or ""
    assert "Image 1 is blue. Image 2 is red." in text and "<answer>Image 2 is better</answer>" in text
    many = ai.chat.completions.create(model="eyes", messages=[user("red", BLUE, RED)], n=3, seed=7)  # type: ignore[list-item]
    assert [c.index for c in many.choices] == [0, 1, 2]
    chunks = list(ai.chat.completions.create(model="eyes", messages=[user("a red thing", BLUE, RED)], stream=True))  # type: ignore[list-item,call-overload]
    assert "".join(c.choices[0].delta.content or "" for c in chunks) == text and len(chunks) > 5
    assert chunks[-1].choices[0].finish_reason == "stop"
    prompt = "Caption: a red thing\nImage 1 is better or Image 2 is better"
    raw = ai.chat.completions.create(model="eyes:raw", messages=[user(prompt, BLUE, RED)])  # type: ignore[list-item]
    assert (raw.choices[0].message.content or "").endswith("<answer>Image 2 is better</answer>")


def test_the_openai_client_is_told_what_it_cannot_have(url: str) -> None:
    ai = client(url)
    message = user("red", BLUE, RED)
    for settings, says in (
        ({"top_p": 0}, "top_p"), ({"extra_body": {"min_tokens": 5}}, "min_tokens"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
        ({"stop": ["x"]}, "stop"), ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"n": 17}, "n: "), ({"temperature": 3}, "temperature"), ({"n": 2, "stream": True}, "one choice"),
    ):  # fmt: skip
        with pytest.raises((openai.BadRequestError, openai.UnprocessableEntityError), match=says):
            ai.chat.completions.create(**{"model": "eyes", "messages": [message], **settings})  # type: ignore[call-overload]
    with pytest.raises(openai.NotFoundError, match="no model 'gpt'"):
        ai.chat.completions.create(model="gpt", messages=[message])  # type: ignore[list-item]


def test_many_clients_each_get_their_own() -> None:
    """Each image carries its answer; some bodies are broken on purpose."""
    app = create_app(seeing_judge(delay=0.005), name="eyes")

    def one(i: int) -> bool:
        rng = random.Random(i)
        asked, first, second = pair(rng)
        shown = uri(picture(first, rng)), uri(picture(second, rng)) if i % 10 else "data:image/png;base64,AAAA"
        try:
            answer = ai.chat.completions.create(model="eyes", messages=[user(f"a {asked} thing", *shown)])  # type: ignore[list-item]
        except openai.BadRequestError:
            return i % 10 == 0
        text = answer.choices[0].message.content or ""
        right = 1 + (asked == second)
        return f"Image 1 is {first}. Image 2 is {second}." in text and f"Image {right} is better" in text

    with serving(app) as address, client(address) as ai, ThreadPoolExecutor(24) as threads:
        assert all(threads.map(one, range(240)))
        metrics = httpx.get(f"{address}/metrics").text
    assert 'reasoner_rm_requests_total{route="/v1/chat/completions",status="200"} 216.0' in metrics
    assert 'reasoner_rm_requests_total{route="/v1/chat/completions",status="400"} 24.0' in metrics
    admission = app.state.admission
    assert admission.in_flight == admission.held_bytes == 0 and admission.accepted == admission.answered == 240
    runs = float(
        next(line for line in metrics.splitlines() if line.startswith("reasoner_rm_run_callers_count")).split()[1]
    )
    assert runs < 108, "requests were merged"


def test_too_many_are_told_when_to_come_again() -> None:
    app = create_app(seeing_judge(delay=0.3), limits=Limits(in_flight=3))
    body = {"caption": "red", "image_a": BLUE, "image_b": RED}
    with serving(app) as address, ThreadPoolExecutor(12) as threads:
        answers = list(threads.map(lambda _: httpx.post(f"{address}/v1/compare", json=body, timeout=60), range(12)))
        refused = [a for a in answers if a.status_code == 429]
        assert 0 < len(refused) < 12 and {a.status_code for a in answers} == {200, 429}
        assert all(1 <= int(a.headers["retry-after"]) <= 60 for a in refused)
        with client(address, max_retries=8) as ai:
            message = [user("red", BLUE, RED)]
            create = ai.chat.completions.create
            done = list(threads.map(lambda _: create(model="judge", messages=message), range(9)))  # type: ignore[arg-type]
        assert len(done) == 9, "a client that comes again is answered"


def test_what_all_requests_hold_together_is_bounded() -> None:
    app = create_app(seeing_judge(delay=0.3), limits=Limits(held_bytes=40_000))
    body = {"caption": "red", "image_a": BLUE, "image_b": RED}
    with serving(app) as address, ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: httpx.post(f"{address}/v1/compare", json=body, timeout=60), range(8)))
    assert {a.status_code for a in answers} == {200, 429} and app.state.admission.held_bytes == 0


def test_a_slow_answer_is_given_up_with_its_work() -> None:
    app = create_app(seeing_judge(delay=1.0), limits=Limits(response_timeout=0.3, in_flight=1))
    body = {"caption": "red", "image_a": BLUE, "image_b": RED}
    with serving(app) as address:
        for _ in range(2):
            assert httpx.post(f"{address}/v1/compare", json=body).status_code == 504
        assert eventually(lambda: app.state.admission.in_flight == 0, 0.2)


def test_a_slow_or_endless_body_is_ended() -> None:
    app = create_app(seeing_judge(), limits=Limits(idle_timeout=0.3, upload_timeout=0.8, body=100_000))

    def slow() -> Iterator[bytes]:
        yield b"{"
        time.sleep(1.0)
        yield b"}"

    def endless() -> Iterator[bytes]:
        while True:
            yield b"x" * 10_000

    head = {"content-type": "application/json"}

    def dripping() -> Iterator[bytes]:
        for _ in range(20):
            yield b" "
            time.sleep(0.1)

    with serving(app) as address:
        assert httpx.post(f"{address}/v1/compare", content=slow(), headers=head).status_code == 408
        with contextlib.suppress(httpx.WriteError):
            assert httpx.post(f"{address}/v1/compare", content=dripping(), headers=head).status_code == 408
        with contextlib.suppress(httpx.WriteError):  # or the connection is closed in mid-body
            assert httpx.post(f"{address}/v1/compare", content=endless(), headers=head).status_code == 413
        large = httpx.post(f"{address}/v1/compare", content=b" " * 100_001, headers=head)
        assert large.status_code == 413
        assert eventually(lambda: app.state.admission.in_flight == app.state.admission.held_bytes == 0)


def test_a_client_that_goes_away_leaves_nothing_behind() -> None:
    app = create_app(seeing_judge(delay=0.5))
    body = {"caption": "red", "image_a": BLUE, "image_b": RED, "stream": True}
    with serving(app) as address:
        with httpx.Client() as leaving, leaving.stream("POST", f"{address}/v1/compare", json=body):
            pass
        assert eventually(lambda: app.state.admission.in_flight == app.state.admission.held_bytes == 0)


def test_a_key() -> None:
    app = create_app(seeing_judge(), key="s3cret")
    with serving(app) as address:
        assert httpx.get(f"{address}/health").status_code == 200 and httpx.get(f"{address}/").status_code == 200
        for path in ("/metrics", "/v1/judge", "/v1/models"):
            assert httpx.get(f"{address}{path}").status_code == 401
        with pytest.raises(openai.AuthenticationError):
            client(address).models.list()
        assert client(address, api_key="s3cret").models.list().data
        head = {"authorization": "Bearer s3cre"}
        assert httpx.post(f"{address}/v1/compare", json={}, headers=head).status_code == 401
        head = {"authorization": "bearer s3cret"}  # the scheme's case does not matter (RFC 9110, section 11.1)
        assert httpx.get(f"{address}/v1/models", headers=head).status_code == 200


def test_a_key_beyond_ascii() -> None:
    with serving(create_app(seeing_judge(), key="schlüssel")) as address:
        for key, status in (("schlüssel", 200), ("schlussel", 401)):
            head = {b"authorization": f"Bearer {key}".encode()}
            assert httpx.get(f"{address}/v1/models", headers=head).status_code == status


def test_a_request_that_could_never_be_held_is_told_so() -> None:
    budget = MemoryBudget(100)
    first, second = HeldBytes(budget), HeldBytes(budget)
    first.add(60)
    with pytest.raises(ApiError) as now:
        second.add(60)
    with pytest.raises(ApiError) as never:
        first.add(60)
    assert (now.value.status, never.value.status) == (429, 413)


def test_a_slow_or_endless_head_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_limits, "READ_TIMEOUT", 0.3)
    with serving(create_app(seeing_judge())) as address:
        for first in (b"", b"GET /health HT", b"GET /health HTTP/1.1\r\nHost: a\r\nX-"):
            with socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2])), timeout=5) as open_:
                open_.sendall(first)
                assert open_.recv(1000) == b"", "closed without an answer"
        with socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2])), timeout=5) as open_:
            open_.sendall(b"GET /health HTTP/1.1\r\nHost: a\r\nX: ")
            with contextlib.suppress(OSError):
                for _ in range(100):
                    open_.sendall(b"x" * 10_000)
            with contextlib.suppress(ConnectionResetError):
                assert open_.recv(12) in (b"HTTP/1.1 400", b"")
        with httpx.Client(base_url=address) as kept:  # a connection in use is not closed by its age
            for _ in range(4):
                assert kept.get("/health").status_code == 200
                time.sleep(0.15)


def test_the_page_of_routes_needs_no_other_host(ask: httpx.Client) -> None:
    page = ask.get("/docs").text
    assert "http" not in page.replace("http-equiv", "") and "<script" not in page
    assert "POST /v1/compare<" in page and "both_orders" in page and "16" in page


def test_health_and_closing() -> None:
    app = create_app(seeing_judge())
    with serving(app) as address:
        assert httpx.get(f"{address}/health").json()["status"] == "ok"
        app.state.admission.closing = True
        assert httpx.get(f"{address}/health").status_code == 503
        answer = httpx.post(f"{address}/v1/compare", json={"caption": "red", "image_a": BLUE, "image_b": RED})
        assert answer.status_code == 503 and "retry-after" in answer.headers


def test_the_openapi_document(ask: httpx.Client) -> None:
    document = ask.get("/openapi.json").json()
    paths = {"/v1/compare", "/v1/compare/upload", "/v1/verdicts", "/v1/rank", "/v1/score", "/v1/chat/completions"}
    assert paths <= set(document["paths"])
    assert document["components"]["schemas"]["CompareBody"]["required"] == ["caption", "image_a", "image_b"]


def test_a_question_about_the_judge(ask: httpx.Client) -> None:
    about = ask.get("/v1/judge").json()
    assert (
        about["task"] == "image_preference" and "{{ prompt }}" in about["template"]["text"] and about["is_base_model"]
    )


def test_no_two_threads_of_clients_disturb_a_stream(url: str) -> None:
    """Streams and whole answers at once."""
    bad: list[str] = []

    def streams(colour: str) -> None:
        other = "red" if colour != "red" else "blue"
        message = [user(f"a {colour} thing", uri(picture(colour)), uri(picture(other)))]
        for _ in range(4):
            chunks = client(url).chat.completions.create(model="eyes", messages=message, stream=True)  # type: ignore[call-overload]
            text = "".join(c.choices[0].delta.content or "" for c in chunks)
            if f"Image 1 is {colour}. Image 2 is {other}." not in text or "Image 1 is better" not in text:
                bad.append(text)

    threads = [threading.Thread(target=streams, args=(c,)) for c in COLOURS]
    [t.start() for t in threads]  # type: ignore[func-returns-value]
    [t.join() for t in threads]  # type: ignore[func-returns-value]
    assert not bad


def test_a_judge_that_is_served_elsewhere(url: str, tmp_path: Path) -> None:
    """Connected to, it says what it says here; each answer belongs to its own images."""
    far, near = Judge.connect(url), seeing_judge(is_base_model=True)
    rng = random.Random(5)
    asked = [pair(rng) for _ in range(20)]
    captions = [f"a <|im_end|> {row[0]} thing" for row in asked]
    first, second = ([picture(row[k], rng) for row in asked] for k in (1, 2))
    assert far.compare_batch(captions, first, second) == near.compare_batch(captions, first, second)
    images = [picture(c) for c in ("red", "blue", "green")]
    assert far.rank("green, then red", images) == near.rank("green, then red", images) == [2, 0, 1]
    assert far.score(images, ["a red thing"] * 3) == near.score(images, ["a red thing"] * 3)
    assert far.compare("red", *images[:2], votes=3).votes == (0,) * 6


def test_what_cannot_be_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"http://127.0.0.1:9/v1: ConnectError: .*; check its URL, that it runs"):
        Judge.connect("http://127.0.0.1:9")
    with serving(create_app(seeing_judge(), key="s3cret")) as address:
        monkeypatch.delenv("OPENAI_API_KEY", raising=False)
        with pytest.raises(InputError, match=r"an API key is needed.*set OPENAI_API_KEY"):
            Judge.connect(address)
        monkeypatch.setenv("OPENAI_API_KEY", "s3cret")
        assert Judge.connect(address).compare("red", picture("blue"), picture("red")).preferred == 1
