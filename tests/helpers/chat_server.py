"""A server on loopback that speaks as OpenAI's does, its answers a function; and a proxy that harms a real one's."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Reply:
    """What is sent back. ``body`` None: the connection is closed without a word. ``after`` seconds of silence first."""

    body: Any = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    after: float = 0.0


def chat(*texts: str) -> dict[str, Any]:
    """A chat completion with these choices."""
    choices = [{"index": i, "message": {"content": t}, "finish_reason": "stop"} for i, t in enumerate(texts)]
    return {"choices": choices, "usage": {"prompt_tokens": 1000, "completion_tokens": 100}}


class _Loopback:
    """Handles every request by ``handle``; counts what is open at once."""

    def __init__(self, handle: Callable[[str, str, bytes, Mapping[str, str]], Reply], port: int = 0):
        loopback = self
        self.open = self.most_open = 0
        self._connections: set[socket.socket] = set()
        lock = threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                loopback._connections.add(self.connection)

            def _serve(self) -> None:
                data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                with lock:
                    loopback.open += 1
                    loopback.most_open = max(loopback.most_open, loopback.open)
                try:
                    reply = handle(self.command, self.path, data, dict(self.headers))
                    time.sleep(reply.after)
                finally:
                    with lock:
                        loopback.open -= 1
                if reply.body is None:
                    self.close_connection = True
                    return
                body = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
                self.send_response(reply.status)
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = _serve  # noqa: N815

            def log_message(self, *args: Any) -> None:
                pass

        class Quiet(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 256

            def handle_error(self, *args: Any) -> None:
                pass

        self._http = Quiet(("127.0.0.1", port), Handler)
        self.port = self._http.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/v1"
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def stop(self) -> None:
        """Gone, in the midst of whatever it did."""
        self._http.shutdown()
        self._http.server_close()
        for connection in self._connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class ChatServer(_Loopback):
    """Answers each chat request by a function of its body: a :class:`Reply`, a chat completion, or a text."""

    def __init__(self, answer: Callable[[dict[str, Any]], Any], models: Any = ("m",), port: int = 0):
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[Mapping[str, str]] = []
        listing = models if isinstance(models, Reply) else Reply({"data": [{"id": name} for name in models]})

        def handle(method: str, path: str, data: bytes, headers: Mapping[str, str]) -> Reply:
            if method == "GET":
                return listing
            body = json.loads(data)
            self.bodies.append(body)
            self.headers.append(headers)
            said = answer(body)
            if isinstance(said, Reply):
                return said
            return Reply(chat(said) if isinstance(said, str) else said)

        super().__init__(handle, port)


class FlakyProxy(_Loopback):
    """Hands requests on to a real server, but for what ``harm`` has in mind: it is given the number of a POST and says
    what befalls it: a :class:`Reply` in place of the answer; a number of seconds that the answer is late; True, the
    answer is made and then lost; None, nothing."""

    def __init__(self, url: str, harm: Callable[[int], Reply | float | bool | None]):
        upstream = urlsplit(url)
        self.posts = 0
        lock = threading.Lock()

        def handle(method: str, path: str, data: bytes, headers: Mapping[str, str]) -> Reply:
            what: Reply | float | bool | None = None
            if method == "POST":
                with lock:
                    number, self.posts = self.posts, self.posts + 1
                what = harm(number)
            if isinstance(what, Reply):
                return what
            connection = HTTPConnection(str(upstream.hostname), upstream.port, timeout=120)
            try:
                connection.request(method, path, data, {"Content-Type": "application/json"})
                answer = connection.getresponse()
                body, status = answer.read(), answer.status
            except (HTTPException, OSError):
                return Reply()
            finally:
                connection.close()
            if what is True:
                return Reply()
            return Reply(body, status, after=float(what or 0))

        super().__init__(handle)
