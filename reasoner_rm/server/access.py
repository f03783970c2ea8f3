"""Who may ask: the Host header, the origin of web pages, and the API key."""

from __future__ import annotations

import hmac
import re
from collections.abc import Collection

from starlette.datastructures import Headers

from reasoner_rm.server.errors import ApiError

PUBLIC_PATHS = ("/", "/health", "/openapi.json", "/docs", "/favicon.ico")
"""Paths that need no API key."""
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
"""Methods that change nothing and cost nothing."""
HOST_NAME = re.compile(r"[a-z0-9._-]+|\[[0-9a-f:.]+\]", re.IGNORECASE)
"""A name, an IPv4 address, or an IPv6 address in brackets."""
_AUTHORITY = re.compile(rf"({HOST_NAME.pattern}|)(?::\d{{0,5}})?", re.IGNORECASE)


def check_host(headers: Headers, allowed: Collection[str] | None) -> None:
    """Check the Host header. A web page can resolve its own name to this machine and would then pass the browser's
    same-origin policy (DNS rebinding).

    Args:
        allowed: host names in lower case; None: any.

    Raises:
        ApiError: 400, several Host headers or no `name:port` (RFC 9112, section 3.2); 403, another name.
    """
    given = headers.getlist("host")
    authority = _AUTHORITY.fullmatch(given[0] if given else "")
    if len(given) > 1 or authority is None:
        raise ApiError(400, "a request has one Host header, a name or address with an optional port")
    if allowed is not None and authority[1].strip("[]").lower() not in allowed:
        raise ApiError(403, "this host name is not allowed: serve --allow-host NAME")


def check_origin(method: str, headers: Headers) -> None:
    """Refuse what a web page of another origin sends: a browser sends forms and plain text without asking the server
    first (CSRF). Browsers state the relation in `Sec-Fetch-Site`, older ones the page's `Origin`; other clients send
    neither. The rule is that of Go's `net/http.CrossOriginProtection` (https://words.filippo.io/csrf/).

    Raises:
        ApiError: 403.
    """
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if method in SAFE_METHODS or site in ("same-origin", "none"):
        return
    if site is None and (origin is None or origin.lower().partition("://")[2] == headers.get("host", "").lower()):
        return
    raise ApiError(403, "requests from web pages of another origin are not accepted")


def check_key(method: str, path: str, headers: Headers, key: str | None) -> None:
    """Check the API key; None: none is needed.

    Raises:
        ApiError: 401.
    """
    if key is None or (method == "GET" and path in PUBLIC_PATHS):
        return
    scheme, _, given = headers.get("authorization", "").partition(" ")
    known = hmac.compare_digest(given.strip().encode("latin-1"), key.encode())  # a header's bytes, and the key's
    if scheme.lower() != "bearer" or not known:
        raise ApiError(401, "an API key is needed: Authorization: Bearer KEY")
