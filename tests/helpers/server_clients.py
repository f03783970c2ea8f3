"""Clients of a judge's server: good ones, whose requests have one answer each, and hostile ones beside them."""

from __future__ import annotations

import contextlib
import itertools
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import httpx
from judge_server import encoded, uri, user
from malformed_requests import bad_images, endlessly
from PIL import Image
from raw_http import begin, status

CHAT = "/v1/chat/completions"
LEFT = "left without waiting"
TEMPERATURES = ("1e-40", "1e-38", "5e-324", "NaN", "Infinity", "-Infinity", "1e999", "-1", '"1e-40"', "9" * 400)


class GoodRequest(NamedTuple):
    """A request of a deterministic answer: greedy, or sampled with a seed of its own."""

    path: str
    body: Mapping[str, Any]

    def answer(self, client: httpx.Client) -> str:
        """What the server answers, without what is unlike in every response: id and time. Any status but 200 raises."""
        response = client.post(self.path, json=self.body)
        if response.status_code != 200:
            raise ValueError(f"{self.path}: {response.status_code} {response.text[:200]}")
        if response.headers["content-type"].startswith("text/event-stream"):
            events = [json.loads(line[6:]) for line in response.text.splitlines() if line.startswith("data: {")]
            return "".join(map(_delta, events)) + (_lasting(events[-1]) if "votes" in events[-1] else "")
        return _lasting(response.json())


def _delta(event: dict[str, Any]) -> str:
    """The text that an event of a stream adds: of a chat, or of a comparison."""
    piece: str = event["choices"][0]["delta"].get("content", "") if "choices" in event else event.get("delta", "")
    return piece


def _lasting(answer: dict[str, Any]) -> str:
    return json.dumps({name: value for name, value in answer.items() if name not in ("id", "created")})


def good_requests(n: int, pictures: Sequence[Image.Image], seed: int = 0) -> list[GoodRequest]:
    """Requests to all routes that take JSON, each with its own pictures and seed."""
    rng = random.Random(seed)
    shown = [uri(picture) for picture in pictures]
    kinds = (_chat, _chat_of_two, _chat_stream, _complete_prompt, _compare, _compare_stream, _verdicts, _score)
    return [kinds[i % len(kinds)](i, rng.sample(shown, 2), rng) for i in range(n)]


def _caption(rng: random.Random) -> str:
    return f"{rng.choice(('two', 'three', 'four'))} {rng.choice(('red', 'blue', 'green', 'purple'))} circles"


def _chat(i: int, images: list[str], rng: random.Random) -> GoodRequest:
    return GoodRequest(CHAT, {"messages": [user(_caption(rng), *images)], "temperature": 1.0, "seed": i})


def _chat_of_two(i: int, images: list[str], rng: random.Random) -> GoodRequest:
    return GoodRequest(CHAT, {"messages": [user(_caption(rng), *images)], "n": 2, "seed": -i, "top_p": 0.9})


def _chat_stream(i: int, images: list[str], rng: random.Random) -> GoodRequest:
    return GoodRequest(CHAT, {**_chat(i, images, rng).body, "stream": True})


def _complete_prompt(i: int, images: list[str], rng: random.Random) -> GoodRequest:
    message = user(f"Request {i}. Describe {_caption(rng)}.", *images[: i % 3])
    return GoodRequest(CHAT, {"model": "judge:raw", "messages": [message], "max_tokens": 1 + i % 24})


def _compare(i: int, images: list[str], rng: random.Random) -> GoodRequest:
    body = {"caption": _caption(rng), "image_a": images[0], "image_b": images[1], "votes": 2, "seed": i}
    return GoodRequest("/v1/compare", body)


def _compare_stream(i: int, images: list[str], rng: random.Random) -> GoodRequest:
    return GoodRequest("/v1/compare", {**_compare(i, images, rng).body, "both_orders": False, "stream": True})


def _verdicts(i: int, images: list[str], rng: random.Random) -> GoodRequest:
    samples = [{"prompt": _caption(rng), "images": images}, {"prompt": f"number {i}", "images": images[::-1]}]
    return GoodRequest("/v1/verdicts", {"samples": samples, "both_orders": False, "votes": 2, "seed": i})


def _score(i: int, images: list[str], rng: random.Random) -> GoodRequest:
    return GoodRequest("/v1/score", {"images": images, "captions": [_caption(rng)] * 2, "mode": "win_rate"})


class HostileClients:
    """Hostile clients of one server. Each kind is a method that returns the status it got, 0 where the connection was
    closed, or `LEFT`.

    Args:
        url: the server's.
        image: a sound image.
        drip_seconds: how long a slow client sends bytes before it leaves.
    """

    def __init__(self, url: str, image: Image.Image, drip_seconds: float = 0.5):
        self.drip_seconds = drip_seconds
        self.url = url.rstrip("/")
        self.image = uri(image)
        self.sound = {"messages": [user("two red circles", self.image, self.image)]}
        self.compare = {"caption": "red", "image_a": self.image, "image_b": self.image}
        self.broken = [data for _, data in bad_images()]
        self._temperatures = itertools.cycle(TEMPERATURES)
        self._malformed, self._lock = endlessly(), threading.Lock()

    @property
    def kinds(self) -> Mapping[str, Callable[[random.Random], int | str]]:
        """Each kind by name, with what is done with a source of chance."""
        kinds = (
            self.temperatures, self.sampling_values, self.seeds, self.half_a_character, self.wrong_types,
            self.huge_lists, self.deep_json, self.unknown_keys, self.broken_images, self.decompression_bombs,
            self.changed_bytes, self.half_a_body, self.one_byte_at_a_time, self.half_closed_socket,
            self.left_while_answered, self.wrong_host, self.wrong_origin, self.no_http,
        )  # fmt: skip
        return {kind.__name__: kind for kind in kinds}

    def temperatures(self, rng: random.Random) -> int:
        with self._lock:
            value = next(self._temperatures)
        return self._post(CHAT, _with(self.sound, "temperature", value))

    def sampling_values(self, rng: random.Random) -> int:
        name, values = rng.choice(
            [
                ("top_p", ["NaN", "0", "-1", "1e999", "5e-324"]),
                ("max_tokens", ["0", "-1", "9" * 400, "1e300", "NaN"]),
                ("n", ["0", "17", "9" * 400, "NaN"]),
            ]
        )
        return self._post(CHAT, _with(self.sound, name, rng.choice(values)))

    def seeds(self, rng: random.Random) -> int:
        value = rng.choice(["9" * 400, "-" + "9" * 400, str(2**63), "1e300", "NaN", "-1", "0.5"])
        path, body = rng.choice([(CHAT, self.sound), ("/v1/compare", self.compare)])
        return self._post(path, _with(body, "seed", value))

    def half_a_character(self, rng: random.Random) -> int:
        half = rng.choice(["\ud800", "\udfff", "a\ud83d b"])
        bodies = [
            (CHAT, {**self.sound, "user": half}),
            (CHAT, {"messages": [user(half, self.image, self.image)]}),
            ("/v1/compare", {**self.compare, "caption": half}),
            ("/v1/compare", {**self.compare, half: 1}),
            ("/v1/verdicts", {"samples": [{"id": half, "prompt": "red", "images": [self.image] * 2}]}),
        ]
        path, body = rng.choice(bodies)
        return self._post(path, json.dumps(body).encode())

    def wrong_types(self, rng: random.Random) -> int:
        path, body = rng.choice([(CHAT, self.sound), ("/v1/compare", self.compare)])
        wrong = rng.choice([None, 7, 1.5, [], {}, [[]], {"a": 1}, True, "x", [None], ["x"] * 3])
        return self._post(path, json.dumps({**body, rng.choice(sorted(body)): wrong}).encode())

    def huge_lists(self, rng: random.Random) -> int:
        many: list[Any] = [rng.choice([1, "x", None, [], {}])] * rng.choice([10_000, 100_000])
        path, body = rng.choice(
            [
                ("/v1/verdicts", {"samples": [{"prompt": "x", "videos": [many]}]}),
                ("/v1/verdicts", {"samples": many}),
                ("/v1/verdicts", {"samples": [{"prompt": "x", "responses": many}]}),
                ("/v1/rank", {"caption": "x", "images": many}),
                ("/v1/score", {"captions": many, "images": many}),
                (CHAT, {"messages": many}),
                (CHAT, {"messages": [{"role": "user", "content": many}]}),
                ("/get_reward_mllm", {"query": many, "prompts": many}),
            ]
        )
        return self._post(path, json.dumps(body).encode())

    def deep_json(self, rng: random.Random) -> int:
        depth = rng.choice([200, 2000, 100_000])
        opening, closing = rng.choice([("[", "]"), ('{"a":', "}")])
        return self._post(CHAT, _with(self.sound, "metadata", opening * depth + "1" + closing * depth))

    def unknown_keys(self, rng: random.Random) -> int:
        many = {f"k{rng.random()}": 1 for _ in range(rng.choice([1, 10_000]))}
        path, body = rng.choice([(CHAT, {**self.sound, "tools": [{}]}), ("/v1/compare", self.compare)])
        return self._post(path, json.dumps({**body, **many}).encode())

    def broken_images(self, rng: random.Random) -> int:
        return self._post_image(rng.choice(self.broken))

    def decompression_bombs(self, rng: random.Random) -> int:
        side, kind = rng.choice([(4500, "PNG"), (9000, "GIF"), (16_000, "PNG")])
        return self._post_image(encoded(Image.new("1", (side, side)), kind))

    def changed_bytes(self, rng: random.Random) -> int:
        with self._lock:
            bad = next(self._malformed)
        return self._post(bad.path, bad.content, f"Content-Type: {bad.kind}"[:30_000])

    def half_a_body(self, rng: random.Random) -> str:
        request = self._request(CHAT, json.dumps(self.sound).encode())
        begin(self.url, request[: rng.randrange(len(request))]).close()
        return LEFT

    def one_byte_at_a_time(self, rng: random.Random) -> str:
        with begin(self.url, self._request(CHAT, json.dumps(self.sound).encode())[:200]) as connection:
            for _ in range(10):
                connection.sendall(b" ")
                time.sleep(self.drip_seconds / 10)
        return LEFT

    def half_closed_socket(self, rng: random.Random) -> int:
        with begin(self.url, self._request(CHAT, json.dumps(self.sound).encode())) as connection:
            connection.shutdown(1)
            return status(connection)

    def left_while_answered(self, rng: random.Random) -> str:
        body = {**self.sound, "n": 16, "temperature": rng.choice([0.01, 2.0]), "max_tokens": 2**31 - 1}
        with begin(self.url, self._request(CHAT, json.dumps(body).encode())):
            time.sleep(rng.random() * 0.2)
        return LEFT

    def wrong_host(self, rng: random.Random) -> int:
        lines = rng.choice(["Host: evil.example", "Host: localhost#", "Host: a@localhost", "Host: localhost/",
                            "Host: localhost\r\nHost: evil.example", "Host:", "X: y"])  # fmt: skip
        content = json.dumps(self.sound).encode()
        head = f"POST {CHAT} HTTP/1.1\r\n{lines}\r\nContent-Length: {len(content)}\r\n\r\n".encode()
        return self._send(head + content)

    def wrong_origin(self, rng: random.Random) -> int:
        line = rng.choice(["Origin: http://evil.example", "Origin: null", "Sec-Fetch-Site: cross-site"])
        return self._post(CHAT, json.dumps(self.sound).encode(), line)

    def no_http(self, rng: random.Random) -> int:
        return self._send(
            rng.choice(
                [
                    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + rng.randbytes(200),
                    b"GET / HTTP/9.9\r\n\r\n",
                    b"POST /v1/compare HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
                    b"POST /v1/compare HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
                    b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
                ]
            )
        )

    def _post_image(self, data: bytes) -> int:
        return self._post("/v1/compare", json.dumps({**self.compare, "image_b": uri(data)}).encode())

    def _post(self, path: str, content: bytes, *lines: str) -> int:
        return self._send(self._request(path, content, *lines))

    def _send(self, request: bytes) -> int:
        with contextlib.suppress(ConnectionError), begin(self.url, request) as connection:
            connection.settimeout(60)
            return status(connection)
        return 0

    @staticmethod
    def _request(path: str, content: bytes, *lines: str) -> bytes:
        kind = () if any(line.startswith("Content-Type") for line in lines) else ("Content-Type: application/json",)
        head = [f"POST {path} HTTP/1.1", "Host: localhost", f"Content-Length: {len(content)}", *kind, *lines]
        return "\r\n".join([*head, "", ""]).encode() + content


def _with(body: Mapping[str, Any], name: str, value: str) -> bytes:
    """A body as JSON with one more field, whose value is written as it is."""
    return f"{json.dumps(body)[:-1]}, {json.dumps(name)}: {value}}}".encode()


@dataclass(slots=True)
class Outcome:
    """What the clients of a crowd got: the number of a good request with each answer other than that given alone, and
    how often each status of each hostile kind."""

    wrong: list[tuple[int, str]] = field(default_factory=list)
    statuses: Counter[tuple[str, int | str]] = field(default_factory=Counter)

    @property
    def failures(self) -> list[str]:
        """Hostile kinds that were answered with a status of 500 or more."""
        return [f"{kind}: {got}" for kind, got in self.statuses if isinstance(got, int) and got >= 500]


def ask_alone(url: str, good: Sequence[GoodRequest]) -> list[str]:
    """The answer of each good request, one after the other."""
    with httpx.Client(base_url=url, timeout=120) as client:
        return [request.answer(client) for request in good]


def crowd(
    clients: HostileClients,
    good: Sequence[GoodRequest],
    answers: Sequence[str],
    requests: int,
    threads: int,
    hostile_share: float = 0.1,
) -> Outcome:
    """So many requests in random order, a share of them hostile, from a number of threads at once. Each good request is
    sent equally often, each hostile kind as well."""
    outcome, kinds, lock = Outcome(), clients.kinds, threading.Lock()
    hostile = [name for _, name in zip(range(round(requests * hostile_share)), itertools.cycle(kinds), strict=False)]
    order: list[int | str] = [*hostile, *(i % len(good) for i in range(requests - len(hostile)))]
    random.Random(0).shuffle(order)

    def one(number: int) -> None:
        asked = order[number]
        if isinstance(asked, str):
            status = kinds[asked](random.Random(number))
            with lock:
                outcome.statuses[asked, status] += 1
            return
        try:
            got = good[asked].answer(client)
        except (ValueError, httpx.HTTPError) as error:
            got = f"{type(error).__name__}: {error}"
        if got != answers[asked]:
            outcome.wrong.append((asked, got))

    limits = httpx.Limits(max_connections=None)
    with httpx.Client(base_url=clients.url, timeout=120, limits=limits) as client, ThreadPoolExecutor(threads) as pool:
        list(pool.map(one, range(requests)))
    return outcome
