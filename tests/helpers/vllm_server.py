"""A real vLLM server on loopback, with a checkpoint of the tests."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx

STARTING = 600.0
"""Seconds. It takes half a minute on a quiet machine."""
UNIPROC = "vllm.v1.executor.uniproc_executor.UniProcExecutor"
"""The model runs in the engine's process: a worker of its own would import vLLM once more, 15 seconds of a core. By its
short name, `uni`, vLLM's CPU build takes it for `mp`."""


class VllmServer:
    """Starts at once; ``wait`` until it answers. ``url`` goes up to `/v1`."""

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
        command = [
            sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(model),
            "--served-model-name", "tiny", "--host", "127.0.0.1", "--port", str(self.port), "--dtype", "float32",
            "--enforce-eager", "--max-model-len", "1024", "--max-num-seqs", "64",
            "--logprobs-mode", "processed_logprobs", "--distributed-executor-backend", UNIPROC,
            "--no-enable-chunked-prefill",  # a CPU's generators cannot be wound back, which a cut prefill asks of seeds
            *options,
        ]  # fmt: skip
        with log.open("w") as out:
            self.process = subprocess.Popen(
                command, stdout=out, stderr=subprocess.STDOUT, env=os.environ | environment, start_new_session=True
            )

    def wait(self) -> VllmServer:
        end = time.monotonic() + STARTING
        while time.monotonic() < end and self.process.poll() is None:
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
        if self.process.poll() is None:
            os.killpg(self.process.pid, 9)
            self.process.wait()
