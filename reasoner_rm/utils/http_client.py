"""HTTP clients: the one place that decides about proxies, and whose errors name what failed."""

from __future__ import annotations

import functools
import importlib.util
import ipaddress
import os
import ssl
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx

from reasoner_rm.errors import InputError


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy, and the environment variable that names it."""

    url: str
    variable: str

    def __str__(self) -> str:
        """Without user and password."""
        scheme, _, rest = self.url.partition("://")
        return f"the proxy {scheme}://{rest.rpartition('@')[2]} ({self.variable})"


def proxy_of(url: str) -> Proxy | None:
    """The proxy that the environment names for a URL: HTTP_PROXY, HTTPS_PROXY or ALL_PROXY, and NO_PROXY, in either
    case. None for addresses of this machine, which no proxy can reach, whatever the environment names.

    Raises:
        InputError: the proxy cannot be used: no address, an unknown scheme, or SOCKS without its package.
    """
    try:
        parts = urlsplit(url)
        host, authority = parts.hostname or "", parts.netloc.rpartition("@")[2]
    except ValueError:
        return None  # no URL, which the client says
    if is_loopback(host) or urllib.request.proxy_bypass(authority):
        return None
    found = urllib.request.getproxies()
    kind = parts.scheme if found.get(parts.scheme) else "all"
    if not found.get(kind):
        return None
    address = found[kind]
    names = (f"{kind.upper()}_PROXY", f"{kind}_proxy")
    proxy = Proxy(
        address if "://" in address else f"http://{address}",
        next((name for name in names if os.environ.get(name)), "the system's settings"),
    )
    _check(proxy, host)
    return proxy


def through(url: str) -> str:
    """For the message about an answer: " through the proxy …", or nothing."""
    proxy = proxy_of(url)
    return f" through {proxy}" if proxy else ""


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine's own."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def open_client(**settings: Any) -> httpx.Client:
    """A client. Settings are those of `httpx.Client`, but for proxies and certificates."""
    return httpx.Client(transport=ProxyTransport(), trust_env=False, **settings)


def open_direct_client(**settings: Any) -> httpx.Client:
    """A client that uses no proxy, whatever the environment names."""
    return httpx.Client(verify=_certificates(), trust_env=False, **settings)


def open_async_client(limits: httpx.Limits, **settings: Any) -> httpx.AsyncClient:
    """As `open_client`, asynchronous. The limits are those of each proxy."""
    return httpx.AsyncClient(transport=AsyncProxyTransport(limits), trust_env=False, **settings)


def describe(error: Exception) -> str:
    """An error of a client in one line."""
    return f"{type(error).__name__}: {error}".rstrip(": ").partition("\n")[0]


ADDRESS_ERRORS = (httpx.InvalidURL, httpx.UnsupportedProtocol, UnicodeError)
"""What clients raise where a URL is none; host names that IDNA refuses are UnicodeErrors."""


class ProxyTransport(httpx.BaseTransport):
    """Sends each request directly or through the proxy of its URL, also after a redirect."""

    def __init__(self) -> None:
        self._transports: dict[str | None, httpx.HTTPTransport] = {}

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        proxy = proxy_of(str(request.url))
        address = None if proxy is None else proxy.url
        if address not in self._transports:
            self._transports[address] = httpx.HTTPTransport(_certificates(), trust_env=False, proxy=address)
        with _naming(proxy):
            return self._transports[address].handle_request(request)

    def close(self) -> None:
        for transport in self._transports.values():
            transport.close()


class AsyncProxyTransport(httpx.AsyncBaseTransport):
    """As `ProxyTransport`."""

    def __init__(self, limits: httpx.Limits) -> None:
        self._limits = limits
        self._transports: dict[str | None, httpx.AsyncHTTPTransport] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        proxy = proxy_of(str(request.url))
        address = None if proxy is None else proxy.url
        if address not in self._transports:
            self._transports[address] = httpx.AsyncHTTPTransport(
                _certificates(), trust_env=False, proxy=address, limits=self._limits
            )
        with _naming(proxy):
            return await self._transports[address].handle_async_request(request)

    async def aclose(self) -> None:
        for transport in self._transports.values():
            await transport.aclose()


def _check(proxy: Proxy, host: str) -> None:
    try:
        parts = urlsplit(proxy.url)
        usable = parts.scheme in ("http", "https", "socks5", "socks5h") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise InputError(f"{proxy} has no address", remedy="set it to http://HOST:PORT or socks5://HOST:PORT")
    if parts.scheme.startswith("socks") and importlib.util.find_spec("socksio") is None:
        raise InputError(f"{proxy} needs the package socksio", remedy=f"install it, or add {host} to NO_PROXY")


@contextmanager
def _naming(proxy: Proxy | None) -> Iterator[None]:
    """Errors name the proxy that was used."""
    try:
        yield
    except httpx.TransportError as error:
        if proxy is None:
            raise
        raise type(error)(f"{error} through {proxy}") from None


@functools.cache
def _certificates() -> ssl.SSLContext:
    """Created once, since it takes longer than many requests."""
    return httpx.create_ssl_context()
