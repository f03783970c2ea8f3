"""Host names, origins of web pages, and what a browser sends by itself."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator

import httpx
import pytest
from fake_engine import picture, seeing_judge
from judge_server import encoded, serving, uri

from reasoner_rm.errors import InputError
from reasoner_rm.server.app import create_app
from reasoner_rm.server.runner import allowed_hosts, bind

FILES = {"image_a": encoded(picture("red")), "image_b": encoded(picture("blue"))}
BODY = {"caption": "red", "image_a": uri(FILES["image_a"]), "image_b": uri(FILES["image_b"])}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serving(create_app(seeing_judge(), hosts=allowed_hosts("127.0.0.1", ["judge.lab"]))) as address:
        yield address


def status(url: str, *headers: str) -> int:
    """Of a GET request with these headers, byte for byte."""
    with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=5) as connection:
        connection.sendall("\r\n".join(["GET /v1/judge HTTP/1.1", *headers, "", ""]).encode())
        return int(connection.recv(1000).split()[1])


def test_a_host_that_is_allowed(url: str) -> None:
    for host in ("127.0.0.1:8000", "LOCALHOST:1", "localhost", "localhost:", "[::1]:9", "Judge.Lab", "127.0.0.1"):
        assert status(url, f"Host: {host}") == 200, host


def test_another_host_is_refused(url: str) -> None:
    for host in ("evil.example", "localhost.evil.example", "evil", "", "localhost.", "[::2]", "xn--lcalhost-54a"):
        assert status(url, f"Host: {host}") == 403, host
    assert httpx.post(f"{url}/v1/compare", json=BODY, headers={"host": "evil.example"}).status_code == 403


def test_a_host_header_that_is_no_name_and_port_is_refused(url: str) -> None:
    """Also where any name is allowed."""
    with serving(create_app(seeing_judge())) as public:
        for address in (url, public):
            for host in (
                "localhost#", "localhost#evil", "localhost/", "localhost/evil", "localhost?x", "user@localhost",
                "localhost@evil", "user:1@localhost", "local\thost", "localhost evil", "localhost, evil", "[", "[::1",
                "[localhost]", "localhost:x", "localhost:123456", "localhost:1:2", "localhost\\evil", "http://localhost",
                "localhost%23", "::1",
            ):  # fmt: skip
                assert status(address, f"Host: {host}") == 400, host
            assert status(address, "Host: localhost", "Host: evil.example") == 400
            assert status(address, "Host: evil.example", "Host: localhost") == 400
            assert status(address, "Host: localhost", "Host: localhost") == 400


def test_what_a_page_of_another_origin_sends_is_refused(url: str) -> None:
    """Forms and plain text travel without a preflight request."""

    def form(path: str = "/v1/compare/upload", **headers: str) -> int:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return httpx.post(f"{url}{path}", data={"caption": "red"}, files=FILES, headers=named).status_code

    own = url.removeprefix("http://")
    assert form() == form(origin=f"http://{own}") == form(origin=f"HTTP://{own}", host=own.upper()) == 200
    assert form(sec_fetch_site="same-origin") == form(sec_fetch_site="none") == 200
    assert form(sec_fetch_site="same-origin", origin="https://judge.lab") == 200, "a proxy changed the Host header"
    for origin in ("http://evil.example", "null", "http://127.0.0.1", "http://localhost:1", f"http://{own}.evil", own):
        assert form(origin=origin) == 403, origin
    for site in ("cross-site", "same-site", "anything"):
        assert form(sec_fetch_site=site, origin=f"http://{own}") == 403, site
    text = {"origin": "http://evil.example", "content-type": "text/plain"}
    for path in ("/v1/compare", "/v1/chat/completions", "/get_reward_mllm", "/v1/rank"):
        assert httpx.post(f"{url}{path}", content=json.dumps(BODY), headers=text).status_code == 403
    assert httpx.get(f"{url}/v1/judge", headers={"sec-fetch-site": "cross-site"}).status_code == 200


def test_names_of_the_server() -> None:
    assert allowed_hosts("0.0.0.0", None) is None
    names = allowed_hosts("127.0.0.1", ["Judge.Lab", "bücher.example"])
    assert names is not None and {"judge.lab", "xn--bcher-kva.example", "localhost", "127.0.0.1", "::1"} <= names
    for name in ("judge.lab:8000", "http://judge.lab", "a..b", "x" * 64 + ".lab", "", "evil#"):
        with pytest.raises(InputError, match="--allow-host"):
            allowed_hosts("127.0.0.1", [name])


@pytest.mark.parametrize("host", ["a..b", "x" * 64 + ".example", ".", "\ud800"])
def test_a_host_that_is_no_name_is_one_line(host: str) -> None:
    with pytest.raises(InputError, match=r"cannot listen on .*another --host"):
        bind(host, 0)
