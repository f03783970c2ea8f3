"""Fetching an image from a URL in a dataset: public hosts only, bounded in size and time."""

from __future__ import annotations

import ipaddress
import socket
from urllib.parse import SplitResult, urljoin, urlsplit

from reasoner_rm.errors import InputError

MAX_BYTES = 50 * 2**20
MAX_HOPS = 4
TIMEOUT = 20.0
"""Seconds for one connection or read."""


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
                if answer.is_redirect:
                    address = urljoin(address, answer.headers["location"])
                    continue
                if not answer.is_success:
                    raise InputError(f"{address[:80]} answers {answer.status_code}")
                return _bounded(answer, address)
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:  # ValueError: a header that is none
            raise InputError(f"cannot fetch {address[:80]!r} ({error})") from None
    raise InputError(f"{address[:80]} redirects too often")


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


def _bounded(answer, address: str) -> bytes:  # type: ignore[no-untyped-def]  # httpx is imported on use
    data = bytearray()
    for chunk in answer.iter_bytes():
        data += chunk
        if len(data) > MAX_BYTES:
            raise InputError(f"{address[:80]} holds more than {MAX_BYTES >> 20} MB")
    return bytes(data)


def public_address(host: str, port: int) -> str:
    """An IP address of a host, if all of its addresses are public; prevents requests into a private network (SSRF).

    Raises:
        InputError: an unknown host, or one with a private, loopback, link-local or otherwise special address.
    """
    try:
        found = [str(info[4][0]) for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    except (OSError, UnicodeError) as error:  # UnicodeError: IDNA refuses the name
        raise InputError(f"unknown host {host!r} ({error})") from None
    for ip in found:
        plain = ipaddress.ip_address(ip.partition("%")[0])
        mapped = getattr(plain, "ipv4_mapped", None) or plain
        if not mapped.is_global or mapped.is_multicast:
            raise InputError(f"{host} is no public host ({ip})", remedy="copy the images and give --images DIR")
    return found[0]
