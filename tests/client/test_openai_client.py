"""The client of OpenAI-compatible servers against real ones on loopback that are slow, busy, broken, or gone."""

from __future__ import annotations

import asyncio
import io
import re
import threading
import time
from collections.abc import Callable
from email.utils import formatdate
from types import SimpleNamespace
from typing import Any

import pytest
from chat_server import ChatServer, FlakyProxy, Reply, chat
from PIL import Image

from reasoner_rm.client import budget, replicas
from reasoner_rm.client.budget import OutOfBudget, RateLimiter
from reasoner_rm.client.http_errors import RequestRejected
from reasoner_rm.client.messages import encoded
from reasoner_rm.client.openai_client import CHAT, HttpJob, OpenAIClient
from reasoner_rm.config import EndpointSection
from reasoner_rm.data.images import open_image
from reasoner_rm.errors import InputError, ServiceError

pytestmark = pytest.mark.server

Serve = Callable[..., ChatServer]


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reasoner_rm.client.openai_client.FIRST_WAIT", 0.01)
    monkeypatch.setattr(replicas, "FIRST_PAUSE", 0.05)
    monkeypatch.setattr(replicas, "MAX_PAUSE", 0.2)


def endpoint(*urls: str, **settings: Any) -> OpenAIClient:
    return OpenAIClient(EndpointSection(urls=urls, **{"model": "m", **settings}))


def question(i: int) -> HttpJob:
    return HttpJob(CHAT, lambda: {"model": "m", "messages": [{"role": "user", "content": f"{i}"}]})


def echo(body: dict[str, Any]) -> str:
    return f"answer {body['messages'][0]['content']}"


def text(answer: Any) -> str:
    return str(answer["choices"][0]["message"]["content"])


def test_every_request_is_answered_once_through_a_proxy_that_drops_delays_and_refuses(serve: Serve) -> None:
    """Four clients at once; a lost answer is made again, and each answer goes to its own question."""
    server = serve(lambda body: Reply(chat(echo(body)), after=0.002))
    harms: tuple[Any, ...] = (
        None, Reply(), None, True, 0.05, Reply({"error": "busy"}, 429, {"Retry-After": "0.02"}), None,
        Reply({"error": "oops"}, 500), Reply(b"<html>bad gateway", 502), None, None,
    )  # fmt: skip
    proxy = FlakyProxy(server.url, lambda n: harms[n % len(harms)])
    found: dict[int, list[str]] = {}

    def client(name: int) -> None:
        asking = endpoint(proxy.url, concurrency=8, retries=8)
        answers = dict[int, str]()
        for place, answer in asking.stream([question(1000 * name + i) for i in range(40)]):
            assert place not in answers
            answers[place] = text(answer)
        found[name] = [answers[i] for i in range(40)]

    threads = [threading.Thread(target=client, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    proxy.stop()
    assert found == {name: [f"answer {1000 * name + i}" for i in range(40)] for name in range(4)}
    assert proxy.posts > 160, "the proxy did no harm"


def test_no_more_than_the_limit_are_under_way_and_bodies_are_made_when_their_turn_comes(serve: Serve) -> None:
    server, made = serve(lambda body: Reply(chat(echo(body)), after=0.03)), []

    def job(i: int) -> HttpJob:
        def body() -> dict[str, Any]:
            made.append(i)
            return dict(question(i).body())

        return HttpJob(CHAT, body)

    stream = endpoint(server.url, concurrency=3).stream([job(i) for i in range(12)])
    next(stream)
    assert len(made) <= 7
    assert len(list(stream)) == 11 and server.most_open == 3


def test_who_goes_away_leaves_nothing_running(serve: Serve) -> None:
    server = serve(lambda body: Reply(chat(echo(body)), after=0.05))
    stream = endpoint(server.url, concurrency=2).stream([question(i) for i in range(50)])
    next(stream)
    stream.close()
    time.sleep(0.3)
    assert len(server.bodies) <= 6


def test_the_least_busy_replica_is_asked_and_a_dead_one_is_left_alone(serve: Serve) -> None:
    slow = serve(lambda body: Reply(chat(echo(body)), after=0.4))
    fast = serve(lambda body: Reply(chat(echo(body)), after=0.01))
    asking = endpoint(slow.url, fast.url, "http://127.0.0.1:9/v1", concurrency=6)
    assert len([a for _, a in asking.stream([question(i) for i in range(60)]) if not isinstance(a, Exception)]) == 60
    assert len(fast.bodies) > 2 * len(slow.bodies) > 0
    dead = asking._replicas.all[2]
    assert dead.failures >= replicas.FAILURE_THRESHOLD and dead.cooldowns < 20


def test_a_lane_stays_with_its_replica(serve: Serve) -> None:
    one, two = serve(echo), serve(echo)
    asking = endpoint(one.url, two.url)
    jobs = [HttpJob(CHAT, question(i).body, affinity=i % 4) for i in range(24)]
    assert len(list(asking.stream(jobs))) == 24
    for server, lanes in ((one, {0, 2}), (two, {1, 3})):
        assert {int(body["messages"][0]["content"]) % 4 for body in server.bodies} == lanes


def test_a_server_that_comes_back_is_asked_again(serve: Serve) -> None:
    first = ChatServer(lambda body: Reply(chat(echo(body)), after=0.01))
    asking = endpoint(first.url, concurrency=4, retries=8)
    stream = asking.stream([question(i) for i in range(40)])
    found = [next(stream)]
    first.stop()
    time.sleep(0.1)
    again = ChatServer(echo, port=first.port)
    found += stream
    again.stop()
    assert {place: text(answer) for place, answer in found} == {i: f"answer {i}" for i in range(40)}
    assert again.bodies


def test_a_server_that_goes_away_ends_the_work_soon_and_says_so() -> None:
    server = ChatServer(lambda body: Reply(chat(echo(body)), after=0.01))
    asking = endpoint(server.url, concurrency=8, retries=3)
    stream = asking.stream([question(i) for i in range(400)])
    next(stream)
    server.stop()
    began = time.monotonic()
    lost = [answer for _, answer in stream if isinstance(answer, ServiceError)]
    assert lost and time.monotonic() - began < 5
    # Which of the two is the last depends on how far the closing of the sockets had come.
    assert re.search("ConnectError|RemoteProtocolError|ReadError", str(lost[-1])), lost[-1]
    assert "start it again, then run the same command again" in str(lost[-1])
    with pytest.raises(ServiceError):
        asking.post(CHAT, question(0).body())


@pytest.mark.parametrize("header", ["0.3", "date"])
def test_retry_after_is_heeded(header: str, serve: Serve) -> None:
    times: list[float] = []

    def answer(body: dict[str, Any]) -> Any:
        times.append(time.monotonic())
        when = formatdate(time.time() + 2, usegmt=True) if header == "date" else header
        return Reply({"error": "slow down"}, 429, {"Retry-After": when}) if len(times) == 1 else "fine"

    assert text(endpoint(serve(answer).url, retries=0).post(CHAT, question(0).body())) == "fine"
    assert 0.3 <= times[1] - times[0] < 2.5


def test_a_server_that_is_only_ever_busy_is_given_up(serve: Serve) -> None:
    server = serve(lambda body: Reply({"error": "busy"}, 429))
    with pytest.raises(InputError, match="nothing but 429"):
        endpoint(server.url, timeout=0.3).post(CHAT, question(0).body())


def test_a_silent_server_times_out(serve: Serve) -> None:
    server = serve(lambda body: Reply(chat(echo(body)), after=1.0))
    with pytest.raises(InputError, match="ReadTimeout"):
        endpoint(server.url, timeout=0.1, retries=1).post(CHAT, question(0).body())
    assert len(server.bodies) == 2


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (Reply({"error": {"message": "Incorrect API key"}}, 401), "answers 401: Incorrect API key; set OPENAI_API_KEY"),
        (Reply({"detail": "Not Found"}, 404), r"answers 404: Not Found; check its URL \(up to /v1\)"),
        (
            Reply({"error": {"message": "This model's maximum context length is 9 tokens", "param": "x"}}, 400),
            "larger --max-model-len, or lower max_completion_length or model.max_pixels",
        ),
        (Reply({"error": {"code": "insufficient_quota", "message": "pay"}}, 429), "its account has nothing left"),
        (Reply(b"<html>hello", 200), "answers no JSON: '<html>hello'; give its URL up to /v1"),
    ],
)
def test_a_refusal_is_one_line_with_a_remedy_and_is_not_repeated(reply: Reply, message: str, serve: Serve) -> None:
    server = serve(lambda body: reply)
    with pytest.raises(InputError, match=message) as caught:
        endpoint(server.url).post(CHAT, question(0).body())
    assert len(server.bodies) == 1 and "\n" not in str(caught.value)


def test_a_refused_request_does_not_take_the_others_along(serve: Serve) -> None:
    server = serve(lambda body: Reply({"error": "no"}, 400) if "7" in echo(body) else echo(body))
    answers = dict(endpoint(server.url).stream([question(i) for i in range(10)]))
    assert isinstance(answers[7], RequestRejected) and [text(answers[i]) for i in (0, 9)] == ["answer 0", "answer 9"]


def test_what_is_served(serve: Serve) -> None:
    assert endpoint(serve(echo).url, model="").model == "m"
    with pytest.raises(InputError, match="serves 2 models; name one: a, b"):
        _ = endpoint(serve(echo, models=("a", "b")).url, model="").model
    with pytest.raises(InputError, match="has no model 'm'; it serves: a, b"):
        _ = endpoint(serve(echo, models=("a", "b")).url).model_info
    for listing in (Reply({"hello": 1}), Reply({"data": "x"}), Reply([])):
        with pytest.raises(InputError, match="no OpenAI-compatible server"):
            _ = endpoint(serve(echo, models=listing).url).model_info
    for url in ("http://127.0.0.1:9/v1", "127.0.0.1:9", "http://[::1", "localhost"):
        with pytest.raises(InputError, match=r"check its URL|is no address"):
            _ = endpoint(url).model_info


def test_the_key_comes_from_the_named_variable_and_goes_nowhere_else(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "not-this-one")
    monkeypatch.setenv("OTHER_KEY", "very-secret")
    server = serve(lambda body: Reply({"error": "no"}, 403))
    with pytest.raises(InputError, match="set OTHER_KEY") as caught:
        endpoint(server.url, api_key_env="OTHER_KEY").post(CHAT, question(0).body())
    assert server.headers[0]["authorization" if "authorization" in server.headers[0] else "Authorization"] == (
        "Bearer very-secret"
    )
    assert "secret" not in str(caught.value)


def test_the_pace_is_kept(serve: Serve) -> None:
    server = serve(echo)
    began = time.monotonic()
    assert len(list(endpoint(server.url, requests_per_minute=1200).stream([question(i) for i in range(9)]))) == 9
    assert 0.4 <= time.monotonic() - began < 2.0
    began = time.monotonic()  # each answer is 1,100 tokens: 50 ms
    assert len(list(endpoint(server.url, tokens_per_minute=1_320_000).stream([question(i) for i in range(9)]))) == 9
    assert time.monotonic() - began < 2.0
    asking = endpoint(server.url, tokens_per_minute=1_320_000, concurrency=1)
    began = time.monotonic()
    assert len(list(asking.stream([question(i) for i in range(9)]))) == 9
    assert 0.3 <= time.monotonic() - began < 2.0


def test_a_pace_spaces_evenly_and_books_what_was_used(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, waits = [100.0], list[float]()

    async def sleep(seconds: float) -> None:
        waits.append(round(seconds, 6))

    monkeypatch.setattr(budget, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    monkeypatch.setattr(budget, "asyncio", SimpleNamespace(sleep=sleep))

    async def use() -> None:
        pace = RateLimiter(120)
        for _ in range(3):
            await pace.take(1)
        pace.correct(3)  # a second and a half more
        await pace.take(1)
        clock[0] += 10  # a rest is not saved up
        await pace.take(1)
        await pace.take(1)
        await RateLimiter(None).take(1e9)

    asyncio.run(use())
    assert waits == [0.5, 1.0, 3.0, 0.5]


def test_a_spent_budget_ends_it(serve: Serve) -> None:
    server = serve(echo)
    asking = endpoint(server.url, budget=0.009, input_price=2, output_price=10, concurrency=1)  # three answers
    with pytest.raises(OutOfBudget, match=r"the budget of \$0.009 is spent \(3 requests, 3000 tokens in, 300 out"):
        list(asking.stream([question(i) for i in range(9)]))
    assert len(server.bodies) == 3


def test_images_travel_as_they_are_where_everybody_reads_them_alike() -> None:
    plain = Image.new("RGB", (8, 6), "red")
    turned = Image.Exif()
    turned[0x0112] = 6

    def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
        out = io.BytesIO()
        image.save(out, kind, **options)
        return out.getvalue()

    for as_is in (saved(plain, "PNG"), saved(plain, "JPEG"), saved(plain.convert("L"), "PNG")):
        assert encoded(as_is) == as_is
    clear = Image.new("RGBA", (8, 6), (255, 0, 0, 0))
    for other in (saved(plain, "JPEG", exif=turned), saved(clear, "PNG"), saved(plain, "WEBP"), plain, clear):
        sent = encoded(other)
        assert sent.startswith(b"\x89PNG") and sent != other
        with Image.open(io.BytesIO(sent)) as read:
            assert read.tobytes() == open_image(other).tobytes() and read.mode == "RGB"
    with pytest.raises(InputError, match="broken image"):
        encoded(saved(plain, "PNG")[:40])
    with pytest.raises(InputError, match="no such image"):
        encoded("/nowhere.png")
