"""Proxies of the environment: who is asked through them, who directly, and what is said when one cannot be used."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping

import httpx
import pytest
from chat_server import ChatServer, Reply, _Loopback, chat
from fake_engine import picture
from shell import fails

from reasoner_rm.client.openai_client import CHAT, OpenAIClient
from reasoner_rm.config import EndpointSection
from reasoner_rm.data.fetch_image import fetch
from reasoner_rm.errors import InputError
from reasoner_rm.judge import Judge
from reasoner_rm.models.hub_ids import check_hub_id
from reasoner_rm.utils.http_client import open_async_client, open_client, proxy_of

pytestmark = pytest.mark.server

Serve = Callable[..., ChatServer]
DEAD = "http://127.0.0.1:9"


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr("reasoner_rm.client.openai_client.FIRST_WAIT", 0.01)


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The URLs that were asked for through a proxy, which is the environment's for everything."""
    asked: list[str] = []

    def handle(method: str, path: str, data: bytes, headers: Mapping[str, str]) -> Reply:
        asked.append(path)
        return Reply(chat("through a proxy"))

    server = _Loopback(handle)
    monkeypatch.setenv("ALL_PROXY", f"http://someone:s3cret@127.0.0.1:{server.port}")
    return asked


def ask(url: str) -> str:
    endpoint = OpenAIClient(EndpointSection(urls=(url,), model="m"))
    return str(endpoint.post(CHAT, {"model": "m", "messages": []})["choices"][0]["message"]["content"])


def test_other_hosts_are_asked_through_the_proxy_and_this_machine_directly(serve: Serve, proxy: list[str]) -> None:
    server = serve(lambda body: "directly")
    for host in ("127.0.0.1", "localhost"):
        assert ask(server.url.replace("127.0.0.1", host)) == "directly"
    assert not proxy
    assert ask("http://judge.example/v1") == "through a proxy"
    assert ask(f"http://user:word@10.0.0.1:{server.port}/v1") == "through a proxy"
    with open_client(timeout=10) as client:
        assert client.get("http://judge.example/health").json()["choices"]
    assert proxy == ["http://judge.example/v1/chat/completions", f"http://10.0.0.1:{server.port}/v1/chat/completions",
                     "http://judge.example/health"]  # fmt: skip


def test_a_redirect_to_this_machine_is_followed_directly(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    server = serve(lambda body: "directly")
    redirect = _Loopback(lambda *_: Reply("", 307, {"Location": f"{server.url}/models"}))
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{redirect.port}")
    with open_client(timeout=10, follow_redirects=True) as client:
        assert client.get("http://judge.example/").json() == {"data": [{"id": "m"}]}

    async def get() -> httpx.Response:
        async with open_async_client(httpx.Limits(), timeout=10, follow_redirects=True) as client:
            return await client.get("http://judge.example/")

    assert asyncio.run(get()).status_code == 200
    redirect.stop()


def test_which_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://plain:1")
    monkeypatch.setenv("HTTPS_PROXY", "secure:2")
    monkeypatch.setenv("NO_PROXY", "inside.example,.lab,10.1.1.1")
    found = {url: proxy_of(url) for url in (
        "http://a.example", "https://a.example:8443/x", "http://[2001:db8::1]:80/", "http://inside.example:1/",
        "https://deep.inside.example/", "http://judge.lab", "http://10.1.1.1/", "http://127.0.0.1:8000/v1",
        "http://127.9.9.9/", "http://[::1]:8000/", "http://LOCALHOST/", "http://judge.localhost:1/", "", "http://[",
    )}  # fmt: skip
    assert [str(proxy) for proxy in found.values() if proxy] == [
        "the proxy http://plain:1 (http_proxy)", "the proxy http://secure:2 (HTTPS_PROXY)",
        "the proxy http://plain:1 (http_proxy)",
    ]  # fmt: skip
    monkeypatch.setenv("NO_PROXY", "*")
    assert proxy_of("http://a.example") is None


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("HTTP_PROXY", DEAD, rf"the proxy {DEAD} \(HTTP_PROXY\)"),
        ("all_proxy", "http://me:s3cret@127.0.0.1:9", rf"the proxy {DEAD} \(all_proxy\)"),
        (
            "ALL_PROXY",
            "socks5://127.0.0.1:9",
            r"socks5://127.0.0.1:9 \(ALL_PROXY\) needs the package socksio",
        ),
        ("HTTP_PROXY", "ftp://127.0.0.1:9", "HTTP_PROXY.* has no address; set it to http://HOST:PORT"),
        ("HTTP_PROXY", "http://", "HTTP_PROXY.* has no address"),
        ("HTTP_PROXY", "http://[", "HTTP_PROXY.* has no address"),
        ("HTTP_PROXY", "http://a:b:c", "HTTP_PROXY.* has no address"),
    ],
)
def test_a_proxy_that_cannot_be_used_is_named_and_this_machine_does_not_need_it(
    variable: str, value: str, says: str, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(lambda body: "directly")
    monkeypatch.setenv(variable, value)
    assert ask(server.url) == "directly"
    for failing in (lambda: ask("http://judge.example/v1"), lambda: Judge.connect("http://judge.example")):
        with pytest.raises(InputError, match=says) as error:
            failing()
        assert "\n" not in str(error.value) and "s3cret" not in str(error.value)


def test_a_proxy_that_answers_itself_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = _Loopback(lambda *_: Reply(b"no such host", 502))
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{broken.port}")
    with pytest.raises(InputError, match=rf"it answers 502 through the proxy http://127.0.0.1:{broken.port}"):
        ask("http://judge.example/v1")
    with pytest.raises(InputError, match=r"it answers 502 through the proxy .*: no such host"):
        Judge.connect("http://judge.example")
    broken.stop()


def test_the_hub_through_a_proxy_that_cannot_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:9")
    with pytest.raises(InputError, match=r"socks5://127.0.0.1:9 \(ALL_PROXY\) needs the package socksio"):
        check_hub_id("nobody/nothing")


def test_the_shell_says_it_in_one_line(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    images = [f"{tmp_path}/{colour}.png" for colour in ("red", "blue")]
    for colour, file in zip(("red", "blue"), images, strict=True):
        picture(colour).save(file)
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:9")
    asked = ("judge", "--model", "m", "--engine", "http", "--caption", "red", *images)
    assert "(ALL_PROXY) needs the package socksio" in fails(*asked, "--url", "http://judge.example/v1")


@pytest.mark.parametrize("host", ["a..b", "x" * 64 + ".example", "ü..b", "xn--", "[", "a:99999", "\udc80", ""])
def test_an_address_that_is_none_is_one_line(host: str) -> None:
    """IDNA refuses the first of them, where a name is resolved."""
    for failing in (
        lambda: ask(f"http://{host}/v1"), lambda: Judge.connect(f"http://{host}"), lambda: fetch(f"http://{host}/a.png")
    ):  # fmt: skip
        with pytest.raises(InputError) as error:
            failing()
        assert "\n" not in str(error.value)
