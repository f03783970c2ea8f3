"""The http engine against a bare client of the same vLLM server: same requests, same concurrency, side by side.

    python benchmarks/server_rollouts.py --json benchmarks/results/server_rollouts.json

The bare client posts bodies that were encoded beforehand and throws the answers away: what the server itself can do.
Rounds alternate, each with seeds of its own; the figure is the median of the rounds' ratios. Beside it stand the CPU
seconds of each client, which a busy machine does not change: what the engine adds is their difference.
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
    made = []
    for i in range(prompts):
        one, two = (Image.fromarray(rng.integers(0, 256, (112, 112, 3), dtype=np.uint8)) for _ in range(2))
        content = ("Image 1: ", one, "Image 2: ", two, f"Caption {i}: a red circle above a small star")
        seeds = tuple(1000 * (round_ * prompts + i) + g for g in range(count))
        made.append(GenerationRequest(Prompt(content, (False, True, False, True, False)), seeds))
    return made


def ours(engine: HttpEngine, asked: list[GenerationRequest], sampling: SamplingParams) -> int:
    """How many tokens were drawn."""
    return sum(len(c.token_ids) for group in engine.generate(asked, sampling) for c in group)


async def bare(url: str, bodies: list[bytes], concurrency: int) -> int:
    """How many tokens were drawn."""
    room = asyncio.Semaphore(concurrency)

    async def one(client: httpx.AsyncClient, body: bytes) -> int:
        async with room:
            answer = await client.post(url + CHAT, content=body, headers={"Content-Type": "application/json"})
            return int(answer.json()["usage"]["completion_tokens"])

    async with httpx.AsyncClient(timeout=600, limits=httpx.Limits(max_connections=concurrency)) as client:
        return sum(await asyncio.gather(*(one(client, body) for body in bodies)))


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
                asked = requests(args.prompts, args.generations, r)
                bodies = [json.dumps(engine._body(request, sampling, 0)).encode() for request in asked]
                pair = {}
                for name in ("ours", "bare") if r % 2 else ("bare", "ours"):
                    if name == "ours":
                        pair[name] = timed(functools.partial(ours, engine, asked, sampling))
                    else:
                        asking = functools.partial(bare, server.url, bodies, args.concurrency)
                        pair[name] = timed(lambda asking=asking: asyncio.run(asking()))  # type: ignore[misc]
                told = (f"{k} {v['tokens_per_second']:.0f} tokens/s" for k, v in sorted(pair.items()))
                print(f"round {r}: " + ", ".join(told), flush=True)
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
    parser.add_argument("--model", default="pocket-base", help="of the models that are shipped")
    parser.add_argument("--prompts", type=int, default=32)
    parser.add_argument("--generations", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--concurrency", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    figures = measured(args)
    print(f"the http engine reaches {figures['ratio']:.1%} of the bare client (median of {args.rounds} rounds)")
    print("CPU seconds of a round: " + ", ".join(f"{k} {v:.2f}" for k, v in figures["cpu_seconds"].items()))
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
