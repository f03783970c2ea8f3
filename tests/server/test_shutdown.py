"""Signals to a server in a process of its own."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_engine import picture
from judge_server import uri
from raw_http import begin, connect, head, status, whole

HELPERS = str(Path(__file__).parents[1] / "helpers")
SERVER = """
import sys
sys.path.insert(0, sys.argv[1])
from fake_engine import seeing_judge
from reasoner_rm.cli import main
from reasoner_rm.judge import Judge
Judge.from_pretrained = lambda *args, **settings: seeing_judge(delay=60.0)
main(["serve", "--model", "eyes", "--port", "0"])
"""
BODY = {"caption": "a red thing", "image_a": uri(picture("blue")), "image_b": uri(picture("red"))}


@contextlib.contextmanager
def server() -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The process and its address. A run of its model takes a minute."""
    command = [sys.executable, "-c", SERVER, HELPERS]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


@pytest.mark.engine
def test_a_signal_waits_for_what_is_in_flight_alone_and_a_second_interrupt_for_nothing() -> None:
    """That accepted requests are answered after one signal: tests/cli/test_serve.py."""
    with server() as (process, url):
        half, silent, headers = begin(url, head(100) + b"{"), connect(url), begin(url, b"POST /v1/compare HT")
        unread = begin(url, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * 3000)
        accepted = begin(url, whole(BODY))
        time.sleep(0.5)
        started = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert status(half) == 503 and status(silent) == status(headers) == 0
        time.sleep(0.3)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert status(accepted) == 503
        _, errors = process.communicate(timeout=20)
        assert time.monotonic() - started < 6
        assert process.returncode == 1 and errors == "closed: 1 requests accepted, 1 answered\ninterrupted\n"
        unread.close()
