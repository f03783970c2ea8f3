"""Rollouts and listener beliefs by engine: the same model, prompts, images, G and C, alternating in one process.

    python benchmarks/rollouts.py --json benchmarks/results/rollouts.json
    python benchmarks/rollouts.py --model Qwen/Qwen2.5-VL-3B-Instruct --prompts 32 --tokens 512 --json OUT   # CUDA

Every completion has exactly C tokens, because there are no stop tokens. Prompts are new in every run, so that the
prefix cache can only hold what a group shares. Images are processed before the measurement. Results are medians over
the runs. Ratios are of CPU time, which depends less on other load of the machine (on CUDA: of wall time).
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from PIL import Image

from reasoner_rm.config import EngineSection
from reasoner_rm.listener import Listener, frozen_listener
from reasoner_rm.models.loading import Vlm, load_vlm
from reasoner_rm.models.prompt_encoder import PromptEncoder
from reasoner_rm.rollout import GenerationRequest, RolloutEngine, SamplingParams
from reasoner_rm.rollout.transformers_engine import TransformersEngine
from reasoner_rm.rollout.vllm.engine import VllmEngine
from reasoner_rm.schema import Sample
from reasoner_rm.tasks.render import Prompt, load_template, render

WORDS = ("a", "red", "square", "left", "of", "two", "small", "blue", "circles", "on", "grey", "paper")
Cost = tuple[float, float]
"""Wall and CPU seconds."""


def picture(rng: np.random.Generator, side: int) -> Image.Image:
    return Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8))


def prompt_of(rng: np.random.Generator, words: int, side: int) -> Prompt:
    """Two images and ``words`` random words."""
    text = " ".join(rng.choice(WORDS, words))
    return Prompt((picture(rng, side), " ", picture(rng, side), text), (True, False, True, False))


def timed(work: Callable[[], Any]) -> Cost:
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - wall, time.process_time() - cpu


def median(costs: Sequence[Cost]) -> Cost:
    return statistics.median(w for w, _ in costs), statistics.median(c for _, c in costs)


def roll_out(
    engines: dict[str, RolloutEngine], encoder: PromptEncoder, args: argparse.Namespace, size: int, words: int
) -> dict[str, Any]:
    """Generate G completions per prompt with every engine."""
    costs: dict[str, list[Cost]] = {name: [] for name in engines}
    lengths, shares = [], []
    for run in range(args.runs + 1):  # the first warms up
        rng = np.random.default_rng((size, words, run))
        prompts = [prompt_of(rng, words, args.side) for _ in range(args.prompts)]
        lengths = [len(encoder.encode(p).input_ids) for p in prompts]
        requests = [GenerationRequest(p, tuple(range(i * size, (i + 1) * size))) for i, p in enumerate(prompts)]
        for name, engine in engines.items():
            before = hits(engine)
            cost = timed(
                lambda engine=engine, requests=requests: engine.generate(requests, SamplingParams(1.0, args.tokens))
            )
            if run:
                costs[name].append(cost)
                shares.append(hits(engine) - before if name == "vllm" else np.zeros(2))
    cached, queried = np.sum(shares, 0)
    row: dict[str, Any] = {"group_size": size, "prompt_tokens": round(statistics.mean(lengths))}
    for name in engines:
        wall, cpu = median(costs[name])
        row[name] = {
            "tokens_per_s": round(args.prompts * size * args.tokens / wall, 1),
            "prompts_per_s": round(args.prompts / wall, 2),
            "tokens_per_cpu_s": round(args.prompts * size * args.tokens / cpu, 1),
        }
    row["vllm"]["prefix_hits"] = round(cached / max(1, queried), 3)
    row["ratio"] = ratio(costs)
    return row


def hits(engine: Any) -> np.ndarray:
    """Prompt tokens found in the prefix cache, and all that were looked up."""
    return np.array(engine.cached_tokens()) if isinstance(engine, VllmEngine) else np.zeros(2)


def ratio(costs: dict[str, list[Cost]]) -> float:
    """The median over runs of transformers' time divided by vLLM's."""
    which = 0 if torch.cuda.is_available() else 1
    return round(statistics.median(a[which] / b[which] for a, b in zip(*costs.values(), strict=True)), 2)


def listen(
    listeners: dict[str, Listener], encoder: PromptEncoder, args: argparse.Namespace, size: int, words: int
) -> dict[str, Any]:
    """Compute beliefs for G different reasonings per comparison with every listener."""
    costs: dict[str, list[Cost]] = {name: [] for name in listeners}
    template = load_template("image_preference", "brief")
    for run in range(args.runs + 1):
        rng = np.random.default_rng((size, words, run))
        samples = [
            Sample(f"{run}-{i}", "image_preference", "a red square", (picture(rng, args.side), picture(rng, args.side)))
            for i in range(args.prompts)
        ]
        texts = [
            [
                f"<think>{' '.join(rng.choice(WORDS, words))}</think><answer>Image 1 is better</answer>"
                for _ in range(size)
            ]
            for _ in samples
        ]
        for sample in samples:
            encoder.encode(render(sample, template))
        for name, listener in listeners.items():
            cost = timed(lambda listener=listener, samples=samples, texts=texts: listener.beliefs(samples, texts))
            if run:
                costs[name].append(cost)
    row: dict[str, Any] = {"group_size": size, "reasoning_words": words}
    for name in listeners:
        wall, cpu = median(costs[name])
        row[name] = {
            "ms_per_completion": round(1000 * wall / args.prompts / size, 3),
            "cpu_ms_per_completion": round(1000 * cpu / args.prompts / size, 3),
        }
    row["ratio"] = ratio(costs)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="builtin:pocket-base")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--prompts", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=48, help="completion length C")
    parser.add_argument("--groups", type=int, nargs="+", default=[1, 4, 8, 16], help="group sizes G")
    parser.add_argument(
        "--words", type=int, nargs="+", default=[16, 200, 800], help="words of a prompt, in addition to two images"
    )
    parser.add_argument("--side", type=int, default=56, help="side of an image, in pixels")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))

    vlm: Vlm = dataclasses.replace(load_vlm(args.model, dtype=args.dtype), stop_token_ids=())
    encoder = PromptEncoder(vlm)
    start = time.perf_counter()
    engine = VllmEngine(vlm, EngineSection(gpu_memory_utilization=0.6), encoder, stats=True)
    started = time.perf_counter() - start
    engines: dict[str, RolloutEngine] = {"transformers": TransformersEngine(vlm, encoder), "vllm": engine}
    template = load_template("image_preference", "brief")
    reader = frozen_listener(vlm, template, min_mass=0.0)
    reader.encoder = encoder
    listeners: dict[str, Listener] = {
        "transformers": reader,
        "vllm": Listener(engine, template, min_mass=0.0),
    }
    result: dict[str, Any] = {
        "model": args.model,
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor() or "cpu",
        "threads": torch.get_num_threads(),
        "prompts": args.prompts,
        "completion_tokens": args.tokens,
        "engine_start_s": round(started, 1),
        "rollouts": [],
        "listening": [],
    }
    for words in args.words:
        for size in args.groups:
            result["rollouts"].append(roll_out(engines, encoder, args, size, words))
            print(json.dumps(result["rollouts"][-1]), file=sys.stderr, flush=True)
    for size in args.groups:
        result["listening"].append(listen(listeners, encoder, args, size, 60))
        print(json.dumps(result["listening"][-1]), file=sys.stderr, flush=True)
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
