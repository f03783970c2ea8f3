"""Overlap of rollout and a listener behind a server: a rollout batch with overlapped listening, and with listening
after the rollout.

    python benchmarks/overlap.py --json benchmarks/results/overlap.json

Both modes alternate on the same prompts with the same seeds; their beliefs are compared. There are two settings. In
`same_cores` a vLLM server runs on the same cores as the rollout, so that little can be gained. In `remote` the server's
responses are recorded and replayed, each ``--answer`` seconds after its request, without load on this machine. The
result is the median of the rounds' time ratios.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "helpers"))

import httpx
from chat_server import ChatServer, Reply
from vllm_server import VllmServer

from data_recipes.pocket import build
from reasoner_rm.client.openai_client import OpenAIClient
from reasoner_rm.config import EndpointSection
from reasoner_rm.data.io import load_samples
from reasoner_rm.listener import Listener
from reasoner_rm.listener.overlap import Beliefs, OverlappedListening
from reasoner_rm.models.loading import ASSETS, load_vlm
from reasoner_rm.rollout import GenerationRequest, SamplingParams
from reasoner_rm.rollout.http_engine import HttpEngine
from reasoner_rm.rollout.transformers_engine import TransformersEngine
from reasoner_rm.schema import Completion, Group, Sample
from reasoner_rm.tasks.render import load_template, render

TEMPLATE = load_template("image_preference", "default")
MODES = ("overlapped", "after")


class Thinking(TransformersEngine):
    """The shipped base does not reason: its text is wrapped in think tags, so that the listener has a reasoning."""

    def stream(
        self, requests: Sequence[GenerationRequest], sampling: SamplingParams
    ) -> Iterator[tuple[int, tuple[Completion, ...]]]:
        for index, group in super().stream(requests, sampling):
            texts = (f"<think>{i}: {c.text}</think>\n<answer>Image 1 is better</answer>" for i, c in enumerate(group))
            yield index, tuple(replace(c, text=text) for c, text in zip(group, texts, strict=True))


class ReplayServer(ChatServer):
    """Replays a vLLM server's responses: fetched once, then returned after ``after`` seconds."""

    def __init__(self, url: str, after: float):
        self.responses: dict[str, Any] = {}

        def answer(body: dict[str, Any]) -> Reply:
            key = json.dumps(body)
            if key in self.responses:
                return Reply(self.responses[key], after=after if "messages" in body else 0.0)
            path = "/chat/completions" if "messages" in body else "/../tokenize"
            self.responses[key] = httpx.post(url + path, json=body, timeout=600).json()
            return Reply(self.responses[key])

        super().__init__(answer, models=Reply(httpx.get(url + "/models").json()))


def batch_seconds(
    engine: TransformersEngine, listener: Listener, samples: list[Sample], tokens: int, count: int
) -> tuple[dict[str, float], list[Beliefs | None]]:
    """Seconds of a rollout batch, in the order of `GRPOTrainer`."""
    requests = [
        GenerationRequest(render(s, TEMPLATE), tuple(range(count * i, count * (i + 1)))) for i, s in enumerate(samples)
    ]
    start = time.perf_counter()
    with OverlappedListening(listener) as listening:
        for index, completions in engine.stream(requests, SamplingParams(1.0, tokens)):
            listening.submit(index, Group(samples[index], completions))
        rolled_out = time.perf_counter()
        beliefs = listening.beliefs()
    ended = time.perf_counter()
    seconds = {"batch": ended - start, "rollout": rolled_out - start, "waited": ended - rolled_out}
    return seconds, beliefs


def measured(
    args: argparse.Namespace, engine: TransformersEngine, url: str, samples: list[Sample], title: str
) -> dict[str, Any]:
    listener = Listener(HttpEngine(OpenAIClient(EndpointSection(urls=(url,)))), TEMPLATE, min_mass=0.0)
    rounds, probs, difference = [], list[float](), 0.0
    for r in range(args.rounds + 1):
        pair, first_probs = {}, {}
        for mode in MODES if r % 2 else MODES[::-1]:
            listener.is_remote = mode == "overlapped"
            pair[mode], beliefs = batch_seconds(engine, listener, samples, args.tokens, args.generations)
            first_probs[mode] = [belief.probs[0] for row in beliefs for belief in row or () if belief is not None]
        difference = max(difference, *(abs(a - b) for a, b in zip(*first_probs.values(), strict=True)))
        probs += first_probs["overlapped"]
        times = (f"{mode} {seconds['batch']:.2f} s" for mode, seconds in sorted(pair.items()))
        print(f"{title}, round {r}: " + ", ".join(times), flush=True)
        if r:  # the first one warms up
            rounds.append(pair)
    ratios = [pair["overlapped"]["batch"] / pair["after"]["batch"] for pair in rounds]
    return {
        "ratio": statistics.median(ratios),
        "seconds": {m: {k: statistics.median(p[m][k] for p in rounds) for k in rounds[0][m]} for m in MODES},
        "beliefs": {"compared": len(probs), "spread": statistics.pstdev(probs), "greatest_difference": difference},
        "ratios": ratios, "rounds_raw": rounds,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=32)
    parser.add_argument("--generations", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--rows", type=int, default=32, help="completions that are decoded at once")
    parser.add_argument("--answer", type=float, default=0.5, help="seconds per response of the remote listener")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    engine, results = Thinking(load_vlm("builtin:pocket-base", device="cpu"), rows=args.rows), {}
    with tempfile.TemporaryDirectory() as folder:
        samples = load_samples(build(Path(folder), "train", "image_preference", args.prompts, 0))
        server = VllmServer(ASSETS / "pocket-listener", Path(folder) / "vllm.log").wait()
        try:
            remote = ReplayServer(server.url, args.answer)
            results["remote"] = measured(args, engine, remote.url, samples, "remote")
            results["same_cores"] = measured(args, engine, server.url, samples, "same cores")
        finally:
            server.kill()
    for setting, result in results.items():
        seconds = result["seconds"]
        print(
            f"{setting}: with overlap a batch takes {result['ratio']:.1%} of the time without; "
            f"waited for it {seconds['overlapped']['waited']:.2f} s, without {seconds['after']['waited']:.2f} s"
        )
    if args.json:
        settings = {k: v for k, v in vars(args).items() if k != "json"}
        args.json.write_text(json.dumps(settings | results, indent=1) + "\n")


if __name__ == "__main__":
    main()
