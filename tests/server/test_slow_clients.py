"""Clients that send slowly, read slowly, or go away: they keep nobody else out, and leave nothing behind."""

from __future__ import annotations

import contextlib
import resource
import socket
import threading
import time
from collections.abc import Callable, Iterator

import httpx
import pytest
from fake_engine import ColorEngine, picture, seeing_judge
from judge_server import serving, uri
from raw_http import begin, connect, eventually, head, status, whole

from reasoner_rm.server import connection_limits
from reasoner_rm.server.app import create_app
from reasoner_rm.server.limits import Limits

BODY = {"caption": "a red thing", "image_a": uri(picture("blue")), "image_b": uri(picture("red"))}


def is_answered(url: str) -> bool:
    answer = httpx.post(f"{url}/v1/compare", json=BODY, timeout=20)
    return answer.status_code == 200 and answer.json()["preferred"] == 1


@contextlib.contextmanager
def dripping(*connections: socket.socket) -> Iterator[None]:
    """Sends one byte on each connection again and again."""
    stop = threading.Event()

    def drip() -> None:
        while not stop.wait(0.1):
            for connection in connections:
                with contextlib.suppress(OSError):
                    connection.send(b" ")

    thread = threading.Thread(target=drip)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        for connection in connections:
            connection.close()


def test_slow_bodies_take_no_place_of_others() -> None:
    app = create_app(seeing_judge(), limits=Limits(in_flight=2))
    with serving(app) as url, dripping(*(begin(url, head(1000) + b"{") for _ in range(20))):
        time.sleep(0.3)
        assert app.state.admission.in_flight == 0
        assert all(is_answered(url) for _ in range(5))


def test_a_body_that_arrives_too_slowly_is_ended_however_much_came_before() -> None:
    limits = Limits(idle_timeout=0.6, min_rate=100_000, upload_timeout=60)
    with serving(create_app(seeing_judge(), limits=limits)) as url:
        for sent in (b"{", b" " * 500_000):
            slow = begin(url, head(10**6) + sent)
            started = time.monotonic()
            with dripping(slow):
                assert status(slow) == 408 and time.monotonic() - started < 3, len(sent)


def test_a_body_that_keeps_the_rate_may_take_longer_than_the_idle_timeout() -> None:
    limits = Limits(idle_timeout=0.4, min_rate=10_000)
    with serving(create_app(seeing_judge(), limits=limits)) as url:
        sound = begin(url, head(20_000))
        for _ in range(10):
            sound.sendall(b" " * 2000)
            time.sleep(0.1)
        assert status(sound) == 422, "received, and no JSON"


def test_stalled_bodies_give_way_when_memory_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reasoner_rm.server.uploads.STALLED", 0.2)
    app = create_app(seeing_judge(), limits=Limits(held_bytes=1_000_000))
    with serving(app) as url, dripping(*(begin(url, head(500_000) + b" " * 480_000) for _ in range(2))):
        assert eventually(lambda: app.state.admission.held_bytes >= 960_000)
        time.sleep(0.3)
        answer = httpx.post(f"{url}/v1/compare", content=b" " * 300_000, timeout=20)
        assert answer.status_code == 422, "received, and no JSON"
        assert is_answered(url)
    assert eventually(lambda: app.state.admission.held_bytes == 0)


@pytest.mark.parametrize("sent", [head(100) + b"{", head(10**6) + b" " * 300_000, whole(BODY)])
@pytest.mark.parametrize("leave", [socket.socket.close, lambda s: s.shutdown(socket.SHUT_WR)])
def test_a_closed_or_half_closed_connection_gives_back_its_place(
    sent: bytes, leave: Callable[[socket.socket], None]
) -> None:
    """Also while the model works for it; the model does not begin what nobody waits for."""
    judge = seeing_judge(delay=1.0)
    app = create_app(judge, limits=Limits(in_flight=2))
    with serving(app) as url:
        gone = [begin(url, sent) for _ in range(2)]
        if sent == whole(BODY):
            assert eventually(lambda: app.state.admission.in_flight == 2)
            assert httpx.post(f"{url}/v1/compare", json=BODY).status_code == 429
        else:
            time.sleep(0.2)
        for connection in gone:
            leave(connection)
        assert eventually(lambda: app.state.admission.in_flight == app.state.admission.held_bytes == 0, 0.5)
        assert is_answered(url)
    engine = judge.engine.engine
    assert isinstance(engine, ColorEngine) and len(engine.asked) <= 4 + 2, "two requests of one prompt per order"


def test_a_response_that_is_not_read_is_ended() -> None:
    limits = Limits(idle_timeout=0.3)
    app = create_app(seeing_judge(), limits=limits)
    with serving(app) as url:
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", int(url.rpartition(":")[2])))
        connection.settimeout(5)
        connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * 3000)
        time.sleep(1.0)
        received = 0
        with contextlib.suppress(OSError):
            while data := connection.recv(10**6):
                received += len(data)
        assert received < 1000 * len(httpx.get(url).content), "it was closed"
        assert is_answered(url)


def test_silent_connections_give_way_to_new_ones() -> None:
    app = create_app(seeing_judge(), limits=Limits(connections=10))
    with serving(app) as url:
        silent = [connect(url) for _ in range(10)]
        half = [begin(url, head(100) + b"{") for _ in range(10)]
        assert all(is_answered(url) for _ in range(3))
        assert [status(connection) for connection in silent] == [0] * 10
        with contextlib.ExitStack() as at_end:
            for connection in half:
                at_end.enter_context(connection)


def test_connections_that_are_being_answered_do_not_give_way() -> None:
    app = create_app(seeing_judge(delay=0.5), limits=Limits(connections=4))
    with serving(app) as url:
        working = [begin(url, whole(BODY)) for _ in range(3)]
        assert eventually(lambda: app.state.admission.in_flight == 3)
        silent = [connect(url) for _ in range(30)]
        assert [status(connection) for connection in working] == [200] * 3
        for connection in (*working, *silent):
            connection.close()


def test_connections_are_no_more_than_files_may_be_open(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = Limits()
    soft: list[tuple[int, int]] = []
    for hard, expected in ((10**6, 4096), (resource.RLIM_INFINITY, 4096), (2000, range(1000, 1300)), (256, {128})):
        monkeypatch.setattr(connection_limits.resource, "getrlimit", lambda _, hard=hard: (100, hard))
        monkeypatch.setattr(connection_limits.resource, "setrlimit", lambda _, limit: soft.append(limit))
        connections = connection_limits.limited_protocol(limits).max_connections
        assert connections == expected if isinstance(expected, int) else connections in expected
        assert soft[-1][0] >= 2 * connections or soft[-1][0] > connections + 600
