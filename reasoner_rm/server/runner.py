"""Running the server until a signal, then until the requests in flight are answered."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import signal
import socket
import sys
from collections.abc import Sequence
from types import FrameType
from typing import TYPE_CHECKING

import uvicorn

from reasoner_rm.errors import InputError
from reasoner_rm.server.access import HOST_NAME
from reasoner_rm.server.connection_limits import BACKLOG, limited_protocol

if TYPE_CHECKING:
    from fastapi import FastAPI

    from reasoner_rm.server.admission import AdmissionController
    from reasoner_rm.serving.shared_engine import SharedEngine


FORCED_SECONDS = 1.0
"""Seconds for the responses to the requests in flight after a second SIGINT."""


class Server(uvicorn.Server):
    """SIGTERM and SIGINT start a graceful shutdown: new requests and those whose body is not complete get 503, those in
    flight are answered. A second SIGINT ends it: those in flight get 503 as well. Unlike uvicorn's own server, this one
    does not raise the signal again afterwards.

    ``interrupted``: there was a second SIGINT.
    """

    def __init__(self, config: uvicorn.Config, admission: AdmissionController):
        super().__init__(config)
        self.admission = admission
        self.interrupted = False

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.interrupted = self.interrupted or (self.should_exit and sig == signal.SIGINT)
        self.close()

    def close(self) -> None:
        """Reject new requests, and stop once none is in flight."""
        self.admission.closing = self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.admission.uploads.close()
        ending = asyncio.create_task(self._end_when_interrupted())
        await super().shutdown(sockets)
        ending.cancel()

    async def _end_when_interrupted(self) -> None:
        while not self.interrupted:
            await asyncio.sleep(0.05)
        self.admission.cancel_all()
        await asyncio.sleep(FORCED_SECONDS)
        for connection in list(self.server_state.connections):
            connection.abort()  # type: ignore[union-attr]  # a LimitedProtocol


def run(app: FastAPI, host: str, port: int) -> None:
    """Serve until a signal. Port 0 chooses a free port. The address is printed when the socket is bound.

    Raises:
        InputError: the address is in use or not this machine's.
        ServiceError: the model's process ended; requests that waited for it got 503.
        KeyboardInterrupt: it was ended by a second SIGINT.
    """
    admission: AdmissionController = app.state.admission
    engine: SharedEngine = app.state.engine
    listener = bind(host, port)
    authority = f"[{host}]" if ":" in host else host
    print(f"http://{authority}:{listener.getsockname()[1]}/", flush=True)
    server = Server(uvicorn_config(app), admission)
    engine.on_failure(server.close)
    server.run(sockets=[listener])
    print(f"closed: {admission.accepted} requests accepted, {admission.answered} answered", file=sys.stderr)
    if server.interrupted:
        raise KeyboardInterrupt  # closing the engine could wait for its current step
    failure = engine.failure
    engine.close()
    if failure:
        raise failure


def uvicorn_config(app: FastAPI) -> uvicorn.Config:
    protocol = limited_protocol(app.state.admission.limits)
    return uvicorn.Config(
        app, log_level="warning", access_log=False, server_header=False, http=protocol, ws="none",
        timeout_keep_alive=20, backlog=BACKLOG, lifespan="off",
    )  # fmt: skip


def bind(host: str, port: int) -> socket.socket:
    """A listening socket; clients can connect before the server runs.

    Raises:
        InputError: the address is in use or not this machine's.
    """
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.socket(family)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except (OSError, OverflowError, ValueError, TypeError) as error:  # the last two: no host name
        raise InputError(
            f"cannot listen on {host}:{port} ({error})", remedy="choose another --host or --port"
        ) from None
    return listener


def is_loopback(host: str) -> bool:
    """Whether an address is reachable from this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def allowed_hosts(host: str, names: Sequence[str] | None) -> set[str] | None:
    """The host names that are allowed: the given ones, and on loopback this machine's own; None: any.

    Raises:
        InputError: a name that no Host header can have.
    """
    if names is None and not is_loopback(host):
        return None
    return {"localhost", "127.0.0.1", "::1", host.lower(), *map(_as_sent, names or ())}


def _as_sent(name: str) -> str:
    """A host name as clients send it: in lower case, other letters than ASCII's encoded (IDNA)."""
    with contextlib.suppress(UnicodeError):
        encoded = name.encode("idna").decode().lower()
        if HOST_NAME.fullmatch(encoded):
            return encoded.strip("[]")
    raise InputError(f"--allow-host {name!r} is no host name", remedy="give a name or an address, without a port")
