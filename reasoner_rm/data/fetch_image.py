"""Fetching an image from a URL in a dataset: public hosts only, bounded in size and time."""

from __future__ import annotations

import ipaddress
import socket
import time
from urllib.parse import SplitResult, urljoin, urlsplit

from reasoner_rm.errors import InputError

MAX_BYTES = 50 * 2**20
MAX_HOPS = 4
TIMEOUT = 20.0
"""Seconds for one connection or read."""
TOTAL_TIMEOUT = 60.0
"""Seconds for all of it."""
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
_HOLDS_IPV4 = tuple(map(ipaddress.IPv6Network, ("::ffff:0:0/96", "64:ff9b::/96", "::/96")))
"""IPv6 networks whose last four bytes are an IPv4 address: mapped, NAT64 and compatible ones."""


def is_remote(text: str) -> bool:
    """Whether a text is a URL and no path."""
    return "://" in text[:12] or text.startswith("//")


def fetch(address: str) -> bytes:
    """The content at an http or https URL. Every redirect is checked, and the request goes to the checked IP address,
    through no proxy, which would resolve the name again.

    Raises:
        InputError: another scheme, a host on a private network, an answer that is no success, too much data.
    """
    import httpx

    from reasoner_rm.utils.http_client import open_direct_client

    end = time.monotonic() + TOTAL_TIMEOUT
    for _ in range(MAX_HOPS):
        parts, host, port = _parsed(address)
        ip = public_address(host, port or (443 if parts.scheme == "https" else 80))
        at = parts._replace(netloc=(f"[{ip}]" if ":" in ip else ip) + (f":{port}" if port else ""))
        try:
            with (
                open_direct_client(timeout=TIMEOUT) as client,
                client.stream(
                    "GET", at.geturl(), headers={"Host": parts.netloc.rpartition("@")[2]},
                    extensions={"sni_hostname": host},
                ) as answer,
            ):  # fmt: skip
                if answer.has_redirect_location:
                    address = urljoin(address, answer.headers["location"])
                    continue
                if not answer.is_success:
                    raise InputError(f"{address[:80]!r} answers {answer.status_code}")
                return _bounded(answer, address, end)
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:  # ValueError: a header that is none
            raise InputError(f"cannot fetch {address[:80]!r} ({error})") from None
    raise InputError(f"{address[:80]!r} redirects too often")


def _parsed(address: str) -> tuple[SplitResult, str, int | None]:
    """An address with its host and port.

    Raises:
        InputError: it is no http address.
    """
    try:
        parts = urlsplit(address)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host or parts.scheme not in ("http", "https"):
        raise InputError(f"not an http address: {address[:80]!r}")
    return parts, host, port


def _bounded(answer, address: str, end: float) -> bytes:  # type: ignore[no-untyped-def]  # httpx is imported on use
    data = bytearray()
    for chunk in answer.iter_bytes():
        data += chunk
        if len(data) > MAX_BYTES:
            raise InputError(f"{address[:80]!r} holds more than {MAX_BYTES >> 20} MB")
        if time.monotonic() > end:
            raise InputError(f"{address[:80]!r} takes more than {TOTAL_TIMEOUT:g} s")
    return bytes(data)


def public_address(host: str, port: int) -> str:
    """An IP address of a host, if all of its addresses are public; prevents requests into a private network (SSRF).

    Raises:
        InputError: an unknown host, or one with a private, loopback, link-local or otherwise special address.
    """
    try:
        found = [str(info[4][0]) for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    except (OSError, ValueError) as error:  # ValueError: a NUL, or a name that IDNA refuses
        raise InputError(f"unknown host {host[:80]!r} ({error})") from None
    for ip in found:
        if not _is_public(ipaddress.ip_address(ip.partition("%")[0])):
            raise InputError(f"{host[:80]!r} is no public host ({ip})", remedy="copy the images and give --images DIR")
    return found[0]


def _is_public(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Whether an address is anybody's on the internet. One that stands for an IPv4 address is as public as that."""
    if isinstance(ip, ipaddress.IPv4Address):
        return ip.is_global and not ip.is_multicast
    if any(ip in network for network in _HOLDS_IPV4):
        return _is_public(ipaddress.IPv4Address(ip.packed[-4:]))
    if ip.sixtofour is not None:
        return _is_public(ip.sixtofour)
    return ip in _GLOBAL_UNICAST and ip.is_global
