"""`reasoner-rm serve` in a process of its own: how it starts, and how it ends."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import psutil
import pytest
from fake_engine import picture
from judge_server import uri
from shell import shell

pytestmark = pytest.mark.slow

SERVE = [sys.executable, "-m", "reasoner_rm", "serve"]


def start(model: Path, *more: str) -> tuple[subprocess.Popen[str], str]:
    command = [*SERVE, "--model", str(model), "--port", "0", "--max-tokens", "40", "--template", "brief", *more]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    url = process.stdout.readline().strip()
    assert url.startswith("http://127.0.0.1:"), process.stderr and process.stderr.read()
    return process, url


@pytest.mark.slow
def test_a_sigterm_under_load_answers_everything_accepted(tiny_folder: Path) -> None:
    """What the server accepted is what the clients got; afterwards nobody listens. The signal comes twice, and to the
    model's process as well, as from a supervisor that stops a whole group."""
    process, url = start(tiny_folder, "--name", "tiny", "--cache", "0")
    body = {"caption": "red", "image_a": uri(picture("red")), "image_b": uri(picture("blue"))}
    got, broken, lock = [0], [], threading.Lock()

    def ask() -> None:
        with httpx.Client(timeout=120) as client:
            while True:
                try:
                    answer = client.post(f"{url}v1/compare", json=body)
                except httpx.TransportError:
                    return  # no connection: never accepted
                if answer.status_code != 200:
                    if answer.status_code != 503:
                        broken.append(answer.text)
                    return
                assert "votes" in answer.json()
                with lock:
                    got[0] += 1

    threads = [threading.Thread(target=ask) for _ in range(12)]
    for thread in threads:
        thread.start()
    while got[0] < 24:
        time.sleep(0.05)
    for told in (*_children(process), process, process):
        told.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=120)
    for thread in threads:
        thread.join()
    said = errors.strip().splitlines()[-1]
    assert process.returncode == 0 and not broken
    assert said == f"closed: {got[0]} requests accepted, {got[0]} answered"
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url}health")


@pytest.mark.slow
def test_a_killed_model_ends_the_server_after_it_has_told_everybody(tiny_folder: Path) -> None:
    process, url = start(tiny_folder, "--cache", "0")
    body = {"caption": "red", "image_a": uri(picture("red")), "image_b": uri(picture("blue")), "votes": 16}
    (model,) = (child for child in _children(process) if child.memory_info().rss > 2**27)
    statuses: list[int] = []

    def ask() -> None:
        with httpx.Client(timeout=120) as client:
            while not statuses or statuses[-1] == 200:
                try:
                    statuses.append(client.post(f"{url}v1/compare", json=body).status_code)
                except httpx.TransportError:
                    return  # no connection: never accepted

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    while statuses.count(200) < 6:
        time.sleep(0.02)
    model.kill()
    _, errors = process.communicate(timeout=60)
    for thread in threads:
        thread.join()
    closed, error = errors.strip().splitlines()[-2:]
    assert process.returncode == 1 and error == "error: the model's process was ended by SIGKILL"
    accepted, answered = (int(word) for word in closed.split() if word.isdigit())
    assert accepted == answered == len(statuses) and set(statuses) == {200, 503}


def _children(process: subprocess.Popen[str]) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def fails(*args: str) -> str:
    done = shell("serve", *args)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and not done.stdout, done.stderr
    return done.stderr


def test_what_is_wrong_shows_before_a_model_is_loaded(tiny_folder: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert "choose another --host or --port" in fails("--model", str(tiny_folder), "--port", port)
    assert "the environment has no NO_KEY" in fails("--model", str(tiny_folder), "--api-key-env", "NO_KEY")
    assert "a limit is not positive" in fails("--model", str(tiny_folder), "--max-in-flight", "0")
    assert "cannot listen on 203.0.113.1" in fails("--model", str(tiny_folder), "--host", "203.0.113.1")
