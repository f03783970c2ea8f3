"""HTTP requests byte by byte, as no client library sends them."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from typing import Any


def connect(url: str) -> socket.socket:
    return socket.create_connection(("127.0.0.1", int(url.rstrip("/").rpartition(":")[2])), timeout=10)


def head(length: int, path: str = "/v1/compare") -> bytes:
    """The headers of a POST request whose body has so many bytes."""
    return (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    ).encode()


def whole(body: Any, path: str = "/v1/compare") -> bytes:
    content = json.dumps(body).encode()
    return head(len(content), path) + content


def begin(url: str, sent: bytes) -> socket.socket:
    """A connection on which these bytes were sent."""
    connection = connect(url)
    connection.sendall(sent)
    return connection


def status(connection: socket.socket) -> int:
    """Of the next response; 0: the connection was closed without one."""
    try:
        return int((connection.recv(65536).split() or [b"", b"0"])[1])
    except ConnectionError:
        return 0


def eventually(condition: Callable[[], bool], seconds: float = 5.0) -> bool:
    """Whether a condition comes true in time."""
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    return condition()
