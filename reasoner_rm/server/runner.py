"""Running the server until it is told to stop, and then until everybody inside has an answer."""

from __future__ import annotations

import ipaddress
import signal
import socket
import sys
from collections.abc import Sequence
from types import FrameType
from typing import TYPE_CHECKING

import uvicorn

from reasoner_rm.errors import InputError
from reasoner_rm.server.header_limits import HeaderLimitProtocol

if TYPE_CHECKING:
    from fastapi import FastAPI

    from reasoner_rm.server.admission import AdmissionController
    from reasoner_rm.serving.shared_engine import SharedEngine


class Server(uvicorn.Server):
    """SIGTERM and SIGINT close the gate at once: requests on open connections get 503, those inside are answered. A
    second SIGINT does not wait. The process then goes on, where uvicorn would raise the signal again."""

    def __init__(self, config: uvicorn.Config, gate: AdmissionController):
        super().__init__(config)
        self.gate = gate

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.close()

    def close(self) -> None:
        """Let nobody in any more, and end when nobody is inside."""
        self.gate.closing = self.should_exit = True


def run(app: FastAPI, host: str, port: int) -> None:
    """Serve until a signal comes. Port 0 takes a free one; the address is printed once requests are taken.

    Raises:
        InputError: the address is taken or not this machine's.
        ServiceError: the model's process ended: whoever waited for it has got 503.
    """
    gate: AdmissionController = app.state.gate
    engine: SharedEngine = app.state.engine
    listening = bind(host, port)
    where = f"[{host}]" if ":" in host else host
    print(f"http://{where}:{listening.getsockname()[1]}/", flush=True)
    server = Server(configured(app), gate)
    engine.on_failure(server.close)
    server.run(sockets=[listening])
    gone = engine.failure
    engine.close()
    print(f"closed: {gate.accepted} requests accepted, {gate.answered} answered", file=sys.stderr)
    if gone:
        raise gone


def configured(app: FastAPI) -> uvicorn.Config:
    return uvicorn.Config(
        app, log_level="warning", access_log=False, server_header=False, http=HeaderLimitProtocol, ws="none",
        timeout_keep_alive=20, backlog=512, lifespan="off",
    )  # fmt: skip


def bind(host: str, port: int) -> socket.socket:
    """A listening socket.

    Raises:
        InputError: the address is taken or not this machine's.
    """
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.socket(family)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
    except (OSError, OverflowError) as error:
        raise InputError(
            f"cannot listen on {host}:{port} ({error})", remedy="choose another --host or --port"
        ) from None
    return listening


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def allowed_hosts(host: str, names: Sequence[str] | None) -> set[str] | None:
    """The names that a server at an address may be called by: those given, and on loopback its own; None: any."""
    if names is None and not is_loopback(host):
        return None
    return {"localhost", "127.0.0.1", "::1", host.lower(), *map(str.lower, names or ())}
