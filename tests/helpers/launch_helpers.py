"""How tests start the processes of a training, alone or several, and read what they found.

The processes are forked from one that has imported everything. `test_launch_scripts.py` starts them as users do.
"""

from __future__ import annotations

import faulthandler
import importlib
import multiprocessing
import os
import signal
import socket
import sys
import time
from collections.abc import Sequence
from multiprocessing import forkserver
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any
from unittest import mock

import torch

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["preloaded"])
STACKS = signal.SIGUSR1
"""The signal at which a process of a run prints the stacks of its threads."""


def _start_fork_server() -> None:
    """The server takes its module path from the environment that it is started in."""
    paths = [str(Path(__file__).parent), *sys.path]
    with mock.patch.dict(os.environ, {"PYTHONPATH": os.pathsep.join(paths)}):
        forkserver.ensure_running()


def tidy_environment() -> dict[str, str]:
    """A process of few threads that sees no GPU."""
    return os.environ | {"OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu", "CUDA_VISIBLE_DEVICES": ""}


class Ranks:
    """The processes of one run, with the environment that `torchrun` gives its own, and one file for their output.

    Args:
        main: ``module:function``. The module is imported by the processes alone: it may register rewards of its own.
        output: what the processes print, together.
    """

    def __init__(self, main: str, args: Sequence[Any], output: Path, count: int = 1):
        _start_fork_server()
        output.parent.mkdir(parents=True, exist_ok=True)
        self.output = output
        output.unlink(missing_ok=True)
        rendezvous = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port())}
        size = {"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count)}
        self.processes = [
            FORKS.Process(
                target=_rank,
                args=(rendezvous | size | {"RANK": str(rank), "LOCAL_RANK": str(rank)} if count > 1 else {},
                      str(output), main, tuple(args)),
            )
            for rank in range(count)
        ]  # fmt: skip
        for process in self.processes:
            process.start()

    @property
    def returncodes(self) -> list[int | None]:
        return [process.exitcode for process in self.processes]

    def text(self) -> str:
        """What was printed so far."""
        return self.output.read_text(errors="replace") if self.output.is_file() else ""

    def is_alive(self) -> bool:
        return any(process.is_alive() for process in self.processes)

    def wait_for(self, text: str, timeout: float = 120) -> None:
        """Wait until a text was printed, or all processes have ended."""
        until = time.monotonic() + timeout
        while text not in self.text() and self.is_alive() and time.monotonic() < until:
            time.sleep(0.01)

    def wait(self, timeout: float = 240) -> str:
        """Wait until all have ended; what they printed."""
        until = time.monotonic() + timeout
        for process in self.processes:
            process.join(max(0.0, until - time.monotonic()))
        alive = [process for process in self.processes if process.is_alive()]
        for process in alive:
            self._print_stacks(process)
        self.kill()
        assert not alive, f"{len(alive)} not ended after {timeout} s:\n{self.text()[-4000:]}"
        return self.text()

    def _print_stacks(self, process: BaseProcess) -> None:
        """Have a process that does not end add the stacks of its threads to the output."""
        assert process.pid is not None
        before = len(self.text())
        os.kill(process.pid, STACKS)
        until = time.monotonic() + 5
        while len(self.text()) == before and time.monotonic() < until:
            time.sleep(0.1)

    def send_signal(self, number: signal.Signals) -> None:
        for process in self.processes:
            if process.pid is not None:
                os.kill(process.pid, number)

    def kill(self) -> None:
        for process in self.processes:
            process.kill()
            process.join()


def _rank(environment: dict[str, str], output: str, main: str, args: tuple[Any, ...]) -> None:
    os.environ |= environment
    file = os.open(output, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.dup2(file, 1)
    os.dup2(file, 2)
    faulthandler.register(STACKS, file=2)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    module, _, function = main.partition(":")
    getattr(importlib.import_module(module), function)(*args)


def _free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port: int = server.getsockname()[1]
    return port


def start(out: Path, plan: dict[str, Any], count: int = 1) -> Ranks:
    """The processes of a plan, running."""
    out.mkdir(parents=True, exist_ok=True)
    return Ranks("distributed_training:main", (out, plan), out / "output.txt", count)


def finish(ranks: Ranks, timeout: float = 240) -> str:
    """What they printed, once all have ended with 0."""
    text = ranks.wait(timeout)
    assert ranks.returncodes == [0] * len(ranks.processes), text[-4000:]
    return text


def train(out: Path, plan: dict[str, Any], count: int = 1) -> dict[str, Any]:
    """Run a plan to its end."""
    finish(start(out, plan, count))
    found: dict[str, Any] = torch.load(out / "found.pt")
    return found


def apart(got: dict[str, Any], want: dict[str, Any]) -> float:
    """The greatest difference between two trainings' weights."""
    assert got["weights"].keys() == want["weights"].keys()
    return max(float((got["weights"][n] - want["weights"][n]).abs().max()) for n in want["weights"])


def share_apart(got: dict[str, Any], want: dict[str, Any], tolerance: float) -> float:
    """The share of weights that differ by more than this between two trainings."""
    pairs = [(got["weights"][n], want["weights"][n]) for n in want["weights"]]
    return sum(int(((a - b).abs() > tolerance).sum()) for a, b in pairs) / sum(a.numel() for a, _ in pairs)
