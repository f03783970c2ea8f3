"""Names of models: what is neither here nor on the hub is said at once, in one line."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from huggingface_hub import constants

from reasoner_rm.errors import InputError
from reasoner_rm.models.loading import resolve_model


class EmptyHub(BaseHTTPRequestHandler):
    """A hub without models."""

    def do_GET(self) -> None:
        self.server.requests += 1  # type: ignore[attr-defined]
        self.send_response(404)
        self.send_header("X-Error-Code", "RepoNotFound")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def empty_hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[HTTPServer]:
    with HTTPServer(("127.0.0.1", 0), EmptyHub) as server:
        server.requests = 0  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        yield server
        server.shutdown()


@pytest.mark.parametrize("name", ["../runs/none", "/runs/none", "a/b/c", "runs/no ne", "./none"])
def test_a_name_that_is_no_hub_id_is_a_missing_folder(name: str) -> None:
    with pytest.raises(InputError, match=r"no such folder; give a checkpoint folder, a run, or a hub id"):
        resolve_model(name)


def test_without_the_network_nothing_is_requested() -> None:
    with pytest.raises(InputError, match=r"'runs/none' is no folder, .* HF_HUB_OFFLINE is set; check the path"):
        resolve_model("runs/none")


@pytest.mark.server
def test_the_hub_gets_no_request_for_files(empty_hub: HTTPServer) -> None:
    with pytest.raises(InputError, match=r"'runs/none' is no folder, .* the hub has no such model; .* needs HF_TOKEN"):
        resolve_model("runs/none")
    assert empty_hub.requests <= 2  # type: ignore[attr-defined]


@pytest.mark.server
def test_a_hub_that_cannot_be_reached_is_given_up_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    began = time.monotonic()
    with pytest.raises(InputError, match=r"'runs/none' is no folder, .* cannot be reached \(ConnectError\)"):
        resolve_model("runs/none")
    assert time.monotonic() - began < 5
