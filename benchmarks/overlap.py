"""How much of a served listener's time the rollout hides: a rollout batch read as it is rolled out, and read
afterwards.

    python benchmarks/overlap.py --json benchmarks/results/overlap.json

Both ways take turns on the same prompts with the same seeds; their beliefs are compared. Twice: with a real vLLM server
beside the rollout, where both want the same cores, so that little can be gained; and with a listener elsewhere, which
takes time but nothing of this machine: that server's answers, recorded, and each told ``--answer`` seconds after it was
asked for. The figure is the median of the rounds' ratios.
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
WAYS = ("along", "after")


class Thinking(TransformersEngine):
    """The shipped base was never taught to think aloud: what it says is closed as a thought, so that there is something
    to hear."""

    def stream(
        self, requests: Sequence[GenerationRequest], sampling: SamplingParams
    ) -> Iterator[tuple[int, tuple[Completion, ...]]]:
        for place, group in super().stream(requests, sampling):
            texts = (f"<think>{i}: {c.text}</think>\n<answer>Image 1 is better</answer>" for i, c in enumerate(group))
            yield place, tuple(replace(c, text=text) for c, text in zip(group, texts, strict=True))


class Recorded(ChatServer):
    """A vLLM server's answers: the first time they are fetched, from then on told after so many seconds."""

    def __init__(self, url: str, after: float):
        self.known: dict[str, Any] = {}

        def answer(body: dict[str, Any]) -> Reply:
            key = json.dumps(body)
            if key in self.known:
                return Reply(self.known[key], after=after if "messages" in body else 0.0)
            path = "/chat/completions" if "messages" in body else "/../tokenize"
            self.known[key] = httpx.post(url + path, json=body, timeout=600).json()
            return Reply(self.known[key])

        super().__init__(answer, models=Reply(httpx.get(url + "/models").json()))


def batch_seconds(
    engine: TransformersEngine, listener: Listener, samples: list[Sample], tokens: int, count: int
) -> tuple[dict[str, float], list[Beliefs | None]]:
    """Seconds of a rollout batch, as `GRPOTrainer` goes through it."""
    asked = [
        GenerationRequest(render(s, TEMPLATE), tuple(range(count * i, count * (i + 1)))) for i, s in enumerate(samples)
    ]
    began = time.perf_counter()
    with OverlappedListening(listener) as ear:
        for place, completions in engine.stream(asked, SamplingParams(1.0, tokens)):
            ear.submit(place, Group(samples[place], completions))
        rolled_out = time.perf_counter()
        beliefs = ear.beliefs()
    ended = time.perf_counter()
    seconds = {"batch": ended - began, "rollout": rolled_out - began, "waited": ended - rolled_out}
    return seconds, beliefs


def measured(
    args: argparse.Namespace, engine: TransformersEngine, url: str, samples: list[Sample], what: str
) -> dict[str, Any]:
    listener = Listener(HttpEngine(OpenAIClient(EndpointSection(urls=(url,)))), TEMPLATE, min_mass=0.0)
    rounds, probs, apart = [], list[float](), 0.0
    for r in range(args.rounds + 1):
        pair, said = {}, {}
        for way in WAYS if r % 2 else WAYS[::-1]:
            listener.is_remote = way == "along"
            pair[way], beliefs = batch_seconds(engine, listener, samples, args.tokens, args.generations)
            said[way] = [belief.probs[0] for row in beliefs for belief in row or () if belief is not None]
        apart = max(apart, *(abs(a - b) for a, b in zip(*said.values(), strict=True)))
        probs += said["along"]
        told = (f"{way} {seconds['batch']:.2f} s" for way, seconds in sorted(pair.items()))
        print(f"{what}, round {r}: " + ", ".join(told), flush=True)
        if r:  # the first one warms up
            rounds.append(pair)
    ratios = [pair["along"]["batch"] / pair["after"]["batch"] for pair in rounds]
    return {
        "ratio": statistics.median(ratios),
        "seconds": {way: {k: statistics.median(p[way][k] for p in rounds) for k in rounds[0][way]} for way in WAYS},
        "beliefs": {"compared": len(probs), "spread": statistics.pstdev(probs), "greatest_difference": apart},
        "ratios": ratios, "rounds_raw": rounds,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=32)
    parser.add_argument("--generations", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--rows", type=int, default=32, help="completions that are decoded side by side")
    parser.add_argument("--answer", type=float, default=0.5, help="seconds for an answer from elsewhere")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    engine, found = Thinking(load_vlm("builtin:pocket-base", device="cpu"), rows=args.rows), {}
    with tempfile.TemporaryDirectory() as folder:
        samples = load_samples(build(Path(folder), "train", "image_preference", args.prompts, 0))
        server = VllmServer(ASSETS / "pocket-listener", Path(folder) / "vllm.log").wait()
        try:
            elsewhere = Recorded(server.url, args.answer)
            found["elsewhere"] = measured(args, engine, elsewhere.url, samples, "elsewhere")
            found["same_cores"] = measured(args, engine, server.url, samples, "same cores")
        finally:
            server.kill()
    for where, one in found.items():
        seconds = one["seconds"]
        print(
            f"{where}: read as it is rolled out, a batch takes {one['ratio']:.1%} of what it takes read afterwards; "
            f"waited for the listener {seconds['along']['waited']:.2f} s, not {seconds['after']['waited']:.2f} s"
        )
    if args.json:
        settings = {k: v for k, v in vars(args).items() if k != "json"}
        args.json.write_text(json.dumps(settings | found, indent=1) + "\n")


if __name__ == "__main__":
    main()
