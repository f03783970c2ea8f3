"""The http engine against a bare client of the same vLLM server: same requests, same concurrency, alternating.

    python benchmarks/server_rollouts.py --json benchmarks/results/server_rollouts.json

The bare client posts pre-encoded request bodies and discards the responses: the throughput of the server itself. Rounds
alternate, each with its own seeds; the result is the median of the rounds' ratios. The CPU seconds of both clients,
which do not depend on other load of the machine, are reported too: their difference is the engine's overhead.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "helpers"))

import httpx
import numpy as np
from PIL import Image
from vllm_server import VllmServer

from reasoner_rm.client.openai_client import CHAT, OpenAIClient
from reasoner_rm.config import EndpointSection
from reasoner_rm.models.loading import ASSETS
from reasoner_rm.rollout import GenerationRequest, SamplingParams
from reasoner_rm.rollout.http_engine import HttpEngine
from reasoner_rm.tasks.render import Prompt


def requests(prompts: int, count: int, round_: int) -> list[GenerationRequest]:
    rng = np.random.default_rng(0)
    result = []
    for i in range(prompts):
        first, second = (Image.fromarray(rng.integers(0, 256, (112, 112, 3), dtype=np.uint8)) for _ in range(2))
        content = ("Image 1: ", first, "Image 2: ", second, f"Caption {i}: a red circle above a small star")
        seeds = tuple(1000 * (round_ * prompts + i) + g for g in range(count))
        result.append(GenerationRequest(Prompt(content, (False, True, False, True, False)), seeds))
    return result


def ours(engine: HttpEngine, requested: list[GenerationRequest], sampling: SamplingParams) -> int:
    """The number of generated tokens."""
    return sum(len(c.token_ids) for group in engine.generate(requested, sampling) for c in group)


async def bare(url: str, bodies: list[bytes], concurrency: int) -> int:
    """The number of generated tokens."""
    semaphore = asyncio.Semaphore(concurrency)

    async def post(client: httpx.AsyncClient, body: bytes) -> int:
        async with semaphore:
            answer = await client.post(url + CHAT, content=body, headers={"Content-Type": "application/json"})
            return int(answer.json()["usage"]["completion_tokens"])

    async with httpx.AsyncClient(timeout=600, limits=httpx.Limits(max_connections=concurrency)) as client:
        return sum(await asyncio.gather(*(post(client, body) for body in bodies)))


def timed(work: Callable[[], int]) -> dict[str, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    tokens = work()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {"tokens_per_second": tokens / wall, "seconds": wall, "cpu_seconds": cpu}


def measured(args: argparse.Namespace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        server = VllmServer(ASSETS / args.model, Path(folder) / "vllm.log").wait()
        try:
            section = EndpointSection(urls=(server.url,), concurrency=args.concurrency)
            engine, sampling = HttpEngine(OpenAIClient(section)), SamplingParams(1.0, args.tokens)
            rounds = []
            for r in range(args.rounds + 1):
                requested = requests(args.prompts, args.generations, r)
                bodies = [json.dumps(engine._body(request, sampling, 0)).encode() for request in requested]
                pair = {}
                for name in ("ours", "bare") if r % 2 else ("bare", "ours"):
                    if name == "ours":
                        pair[name] = timed(functools.partial(ours, engine, requested, sampling))
                    else:
                        send = functools.partial(bare, server.url, bodies, args.concurrency)
                        pair[name] = timed(lambda send=send: asyncio.run(send()))  # type: ignore[misc]
                rates = (f"{k} {v['tokens_per_second']:.0f} tokens/s" for k, v in sorted(pair.items()))
                print(f"round {r}: " + ", ".join(rates), flush=True)
                if r:  # the first one warms up
                    rounds.append(pair)
        finally:
            server.kill()
    ratios = [pair["ours"]["tokens_per_second"] / pair["bare"]["tokens_per_second"] for pair in rounds]
    medians = {
        k: {n: statistics.median(pair[n][k] for pair in rounds) for n in ("ours", "bare")} for k in rounds[0]["ours"]
    }
    return {
        **{k: v for k, v in vars(args).items() if k != "json"},
        **medians,
        "ratio": statistics.median(ratios), "ratios": ratios, "rounds_raw": rounds,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="pocket-base", help="a model of the package")
    parser.add_argument("--prompts", type=int, default=32)
    parser.add_argument("--generations", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--concurrency", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    result = measured(args)
    print(f"the http engine reaches {result['ratio']:.1%} of the bare client (median of {args.rounds} rounds)")
    print("CPU seconds per round: " + ", ".join(f"{k} {v:.2f}" for k, v in result["cpu_seconds"].items()))
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
