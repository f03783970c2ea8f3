"""A real vLLM server on loopback, with a checkpoint of the tests."""

from __future__ import annotations

import functools
import multiprocessing
import os
import runpy
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import httpx
from launch_helpers import Ranks

STARTING = 600.0
"""Seconds. It takes some seconds on a quiet machine."""
UNIPROC = "vllm.v1.executor.uniproc_executor.UniProcExecutor"
"""The model runs in the engine's process. By its short name, `uni`, vLLM's CPU build takes it for `mp`."""


class VllmServer:
    """Starts at once; ``wait`` until it answers. ``url`` goes up to `/v1`.

    Its processes are forked from one that has imported vLLM: the imports take 10 seconds of a core in the server and
    as many in its engine, the start itself 2.
    """

    def __init__(self, model: Path, log: Path, *options: str, **environment: str):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/v1"
        self.model, self.log = model, log
        environment |= {
            "VLLM_CPU_KVCACHE_SPACE": "1",
            "VLLM_CPU_OMP_THREADS_BIND": "nobind",
            "VLLM_NO_USAGE_STATS": "1",
        }
        arguments = [
            "--model", str(model), "--served-model-name", "tiny", "--host", "127.0.0.1", "--port", str(self.port),
            "--dtype", "float32", "--enforce-eager", "--max-model-len", "1024", "--max-num-seqs", "64",
            "--logprobs-mode", "processed_logprobs", "--distributed-executor-backend", UNIPROC,
            "--no-enable-chunked-prefill",  # a CPU's generators cannot be wound back, which a cut prefill asks of seeds
            *options,
        ]  # fmt: skip
        self._ranks = Ranks("vllm_server:serve", (arguments, environment), log)

    def is_alive(self) -> bool:
        return self._ranks.is_alive()

    def wait(self) -> VllmServer:
        end = time.monotonic() + STARTING
        while time.monotonic() < end and self.is_alive():
            try:
                if httpx.get(self.url.removesuffix("/v1") + "/health", timeout=5).is_success:
                    return self
            except httpx.TransportError:
                time.sleep(0.3)
        self.kill()
        raise RuntimeError("vLLM did not start:\n" + self.log.read_text()[-3000:])

    def answered(self) -> float:
        """How many requests it has answered."""
        lines = httpx.get(self.url.removesuffix("/v1") + "/metrics").text.splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith("vllm:request_success_total"))

    def kill(self) -> None:
        """kill -9, with the processes that it started."""
        for process in self._ranks.processes:
            if process.is_alive() and process.pid is not None:
                os.killpg(process.pid, 9)
        self._ranks.kill()


def serve(arguments: Sequence[str], environment: Mapping[str, str]) -> None:
    """What the server's process runs: vLLM's own entry point, as the first process of a group of its own."""
    from vllm.v1.engine import utils

    os.setsid()
    os.environ |= environment
    utils.get_mp_context = functools.partial(multiprocessing.get_context, "fork")  # the CPU build's is "spawn"
    sys.argv = ["vllm", *arguments]
    runpy.run_module("vllm.entrypoints.openai.api_server", run_name="__main__")
