"""The server against `compare_batch`: the same pairs through `openai` clients, with memory and a SIGTERM under load.

    python benchmarks/server.py --model RUN --rounds 6 --json benchmarks/results/server.json

Every text is compared with that of the judge called directly in one batch. The direct call is measured with several
batch sizes; the fastest is the baseline, and is measured again after the server.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # of both sides

import httpx
import openai
import psutil
import torch

from data_recipes.pocket import build
from reasoner_rm import Judge, load_samples
from reasoner_rm.rollout.transformers_engine import TransformersEngine
from reasoner_rm.schema import Sample

MAX_TOKENS = 96
ROWS = (32, 64, 128, 256)
"""The batch sizes of the direct calls."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="a pocket run (--quick suffices)")
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=1, help="how often all requests are sent")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        samples = load_samples(build(Path(folder), "heldout", "image_preference", args.requests, 7, name="pairs"))
        bodies = [_message(sample) for sample in samples]
        direct = {rows: _direct(args.model, samples, rows) for rows in ROWS}
        best = min(direct, key=lambda rows: direct[rows].seconds)
        expected = direct[best].texts
        with _server(args.model) as server:
            warm_up = _ask(server.url, bodies[:64], args.clients)
            assert not warm_up.errors
            runs, before, client_cpu = _runs(server), server.cpu_seconds(), time.process_time()
            server.rss.clear()
            rounds = [_ask(server.url, bodies, args.clients) for _ in range(args.rounds)]
            memory = list(server.rss)
            served = {name: (now - before[name]) / args.rounds for name, now in server.cpu_seconds().items()}
            client_cpu = (time.process_time() - client_cpu) / args.rounds
            run_callers = [now - then for now, then in zip(_runs(server), runs, strict=True)]
            stopped = _stop_under_load(server, bodies, args.clients)
        repeated = _direct(args.model, samples, best)
    ms_per_request = 1000 / args.requests
    baseline = min(direct[best].seconds, repeated.seconds)
    seconds = statistics.median(r.seconds for r in rounds)
    latencies = [s for r in rounds for s in r.latencies]
    result = {
        "requests": args.requests,
        "clients": args.clients,
        "distinct_answers": len(set(expected)),
        "errors": sum(len(r.errors) for r in rounds),
        "lost": sum(text is None for r in rounds for text in r.texts),
        "other_words_than_direct": [sum(a != b for a, b in zip(r.texts, expected, strict=True)) for r in rounds],
        "ratio": round(baseline / seconds, 3),
        "torch_threads": {"direct": torch.get_num_threads(), "server": int(os.environ["OMP_NUM_THREADS"])},
        "ms_per_request": {
            "direct_by_rows": {rows: round(ms_per_request * run.seconds, 1) for rows, run in direct.items()},
            "direct_again": round(ms_per_request * repeated.seconds, 1),
            "server": [round(ms_per_request * r.seconds, 1) for r in rounds],
        },
        "core_ms_per_request": {
            "direct": [round(ms_per_request * run.cpu_seconds, 1) for run in (direct[best], repeated)],
            **{f"server_{name}": round(ms_per_request * cpu, 1) for name, cpu in served.items()},
            "clients": round(ms_per_request * client_cpu, 1),
        },
        "requests_under_way": round(run_callers[1] / run_callers[0], 1),
        "load": os.getloadavg(),
        "latency_ms": {f"p{q}": round(1000 * _quantile(latencies, q / 100)) for q in (50, 95, 99)},
        "server_rss_mb": _memory(memory),
        "sigterm": stopped,
    }
    print(json.dumps(result, indent=1))
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n")


def _message(sample: Sample) -> list[dict[str, Any]]:
    urls = [f"data:image/png;base64,{base64.b64encode(Path(str(i)).read_bytes()).decode()}" for i in sample.images]
    shown = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    return [{"role": "user", "content": [{"type": "text", "text": sample.prompt}, *shown]}]


@dataclass(frozen=True)
class Direct:
    """The judge's texts in one batch, with wall seconds and CPU seconds."""

    texts: list[str]
    seconds: float
    cpu_seconds: float


def _direct(model: Path, samples: Sequence[Sample], rows: int) -> Direct:
    """One candidate order, as in the chat route, with empty image caches."""
    judge = Judge.from_pretrained(model, "transformers", max_tokens=MAX_TOKENS)
    assert isinstance(judge.engine.engine, TransformersEngine)
    judge.engine.engine.rows = rows
    start, cpu = time.perf_counter(), time.process_time()
    votes = judge.collect_votes(samples, both_orders=False)
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    return Direct([row[0].completion.text for row in votes], seconds, cpu)


@dataclass
class Server:
    """A server process and its model process; their memory is recorded once a second, in MB."""

    process: subprocess.Popen[str]
    url: str
    rss: list[dict[str, float]] = field(default_factory=list)

    def cpu_seconds(self) -> dict[str, float]:
        """CPU seconds so far, of the server's and the model's process."""
        return self._of_both(lambda process: sum(process.cpu_times()[:2]))

    def memory(self) -> dict[str, float]:
        """Resident memory of both processes, in MB."""
        return self._of_both(lambda process: process.memory_info().rss / 2**20)

    def watch(self) -> None:
        with contextlib.suppress(psutil.Error):
            while self.process.poll() is None:
                self.rss.append(self.memory())
                time.sleep(1)

    def _of_both(self, measure: Callable[[psutil.Process], float]) -> dict[str, float]:
        http = psutil.Process(self.process.pid)
        return {"http": measure(http), "model": sum(map(measure, http.children(recursive=True)))}


def _memory(rss: Sequence[dict[str, float]]) -> dict[str, Any]:
    """Medians of four equal quarters of the time, and the ratio of the last to the first."""
    size = -(-len(rss) // 4)
    quarters = [
        {name: round(statistics.median(memory[name] for memory in rss[i : i + size])) for name in rss[0]}
        for i in range(0, len(rss), size)
    ]
    growth = sum(quarters[-1].values()) / sum(quarters[0].values())
    most = round(max(sum(memory.values()) for memory in rss))
    return {"median_by_quarter": quarters, "last_to_first": round(growth, 3), "max": most}


@contextlib.contextmanager
def _server(model: Path, *options: str) -> Iterator[Server]:
    command = [sys.executable, "-m", "reasoner_rm", "serve", "--model", str(model), "--port", "0", "--cache", "0"]
    command += ["--max-tokens", str(MAX_TOKENS), "--name", "judge", "--engine", "transformers", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ)
    assert process.stdout is not None
    url = process.stdout.readline().strip()
    assert url, process.stderr and process.stderr.read()
    server = Server(process, url)
    threading.Thread(target=server.watch, daemon=True).start()
    try:
        yield server
    finally:
        if process.poll() is None:
            process.kill()


@dataclass
class ClientResults:
    """Text (or None) and latency of each request, errors, and total seconds."""

    texts: list[str | None]
    latencies: list[float]
    errors: list[str]
    seconds: float


def _ask(url: str, bodies: Sequence[Any], clients: int) -> ClientResults:
    texts: list[str | None] = [None] * len(bodies)
    latencies, errors = [0.0] * len(bodies), []

    def send(i: int) -> None:
        start = time.perf_counter()
        try:
            answer = client.chat.completions.create(model="judge", messages=bodies[i])
            texts[i] = answer.choices[0].message.content
        except openai.OpenAIError as error:
            errors.append(repr(error)[:200])
        latencies[i] = time.perf_counter() - start

    with openai.OpenAI(base_url=f"{url}v1", api_key="none", max_retries=0, timeout=600) as client:
        start = time.perf_counter()
        with ThreadPoolExecutor(clients) as threads:
            list(threads.map(send, range(len(bodies))))
        return ClientResults(texts, latencies, errors, time.perf_counter() - start)


def _stop_under_load(server: Server, bodies: Sequence[Any], clients: int) -> dict[str, Any]:
    """Send SIGTERM while all clients send requests; every accepted request must be answered."""
    done: dict[str, int] = {"answered": 0, "closing_503": 0, "no_connection": 0, "broken": 0}
    lock, stop = threading.Lock(), threading.Event()

    def ask(k: int) -> None:
        with openai.OpenAI(base_url=f"{server.url}v1", api_key="none", max_retries=0, timeout=120) as client:
            for body in bodies[k::clients]:
                if stop.is_set():
                    return
                try:
                    answer = client.chat.completions.create(model="judge", messages=body)
                    kind = "answered" if answer.choices[0].message.content else "broken"
                except openai.APIStatusError as error:
                    kind = "closing_503" if error.status_code == 503 else "broken"
                except openai.APIConnectionError:
                    kind = "no_connection"
                with lock:
                    done[kind] += 1
                if kind != "answered":
                    return

    threads = [threading.Thread(target=ask, args=(k,)) for k in range(clients)]
    before = _accepted(server)
    for thread in threads:
        thread.start()
    time.sleep(4)
    server.process.send_signal(signal.SIGTERM)
    began = time.perf_counter()
    assert server.process.stderr is not None
    last = server.process.stderr.read().strip().splitlines()[-1]
    server.process.wait(120)
    stop.set()
    for thread in threads:
        thread.join()
    accepted = int(last.split()[1]) - before
    return {
        **done,
        "accepted": accepted,
        "unanswered": accepted - done["answered"],
        "seconds_to_exit": round(time.perf_counter() - began, 2),
        "exit": server.process.returncode,
        "said": last,
    }


def _accepted(server: Server) -> int:
    """The number of chat requests so far."""
    return int(_counted(server, 'reasoner_rm_requests_total{route="/v1/chat'))


def _runs(server: Server) -> list[float]:
    """The number of model runs so far, and of the callers that shared them."""
    return [_counted(server, f"reasoner_rm_run_callers_{suffix} ") for suffix in ("count", "sum")]


def _counted(server: Server, name: str) -> float:
    rows = httpx.get(f"{server.url}metrics").text.splitlines()
    return sum(float(row.split()[-1]) for row in rows if row.startswith(name))


def _quantile(values: Sequence[float], q: float) -> float:
    return sorted(values)[min(len(values) - 1, int(q * len(values)))]


if __name__ == "__main__":
    main()
