"""How much of a served listener's time the rollout hides: a window heard as it is rolled out, and heard afterwards.

    python benchmarks/overlap.py --json benchmarks/results/overlap.json

The listener is a real vLLM server, the rollout the transformers engine in this process, one core each. Both ways take
turns on the same prompts with the same seeds, so that they ask the same questions; beliefs are compared. The figure is
the median of the rounds' ratios. A round that hides everything takes as long as the slower of the two alone.
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

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from vllm_server import VllmServer

from data_recipes.pocket import build
from reasoner_rm.config import EndpointSection
from reasoner_rm.data.endpoint import Endpoint
from reasoner_rm.data.io import load_samples
from reasoner_rm.listener.ear import Beliefs, Ear
from reasoner_rm.listener.remote_listener import RemoteListener
from reasoner_rm.policy.loading import ASSETS, load_vlm
from reasoner_rm.rollout import Request, Sampling
from reasoner_rm.rollout.protocol import streamed
from reasoner_rm.rollout.transformers_engine import TransformersEngine
from reasoner_rm.schema import Completion, Group, Sample
from reasoner_rm.tasks.render import load_template, render


class Thinking(TransformersEngine):
    """The shipped base was never taught to think aloud: what it says is closed as a thought, so that there is something
    to hear."""

    def stream(self, requests: Sequence[Request], sampling: Sampling) -> Iterator[tuple[int, tuple[Completion, ...]]]:
        for place, group in super().stream(requests, sampling):
            yield (
                place,
                tuple(
                    replace(c, text=f"<think>{i}: {c.text}</think>\n<answer>Image 1 is better</answer>")
                    for i, c in enumerate(group)
                ),
            )


def window(
    engine: TransformersEngine, listener: RemoteListener, samples: list[Sample], asked: list[Request], tokens: int
) -> tuple[dict[str, float], list[Beliefs | None]]:
    """Seconds of a window, as `GroupTrainer` goes through it."""
    began = time.perf_counter()
    with Ear(listener) as ear:
        for place, completions in streamed(engine, asked, Sampling(1.0, tokens)):
            ear.hear(place, Group(samples[place], completions))
        rolled_out = time.perf_counter()
        beliefs = ear.beliefs()
    ended = time.perf_counter()
    return {
        "window": ended - began, "rollout": rolled_out - began, "waited": ended - rolled_out, "hidden": ear.hidden,
    }, beliefs  # fmt: skip


def measured(args: argparse.Namespace) -> dict[str, Any]:
    template = load_template("image_preference", "brief")
    with tempfile.TemporaryDirectory() as folder:
        samples = load_samples(build(Path(folder), "train", "image_preference", args.prompts, 0))
        server = VllmServer(ASSETS / "pocket-listener", Path(folder) / "vllm.log").wait()
        try:
            listener = RemoteListener(Endpoint(EndpointSection(urls=(server.url,))), template, min_mass=0.0)
            engine = Thinking(load_vlm("builtin:pocket-base", device="cpu"), rows=args.rows)
            rounds, heard, apart = [], 0, 0.0
            for r in range(args.rounds + 1):
                seeds = [
                    tuple(1000 * (r * len(samples) + i) + g for g in range(args.generations))
                    for i in range(len(samples))
                ]
                asked = [Request(render(s, template), s_) for s, s_ in zip(samples, seeds, strict=True)]
                pair, said = {}, {}
                for way in ("along", "after") if r % 2 else ("after", "along"):
                    listener.elsewhere = way == "along"
                    pair[way], said[way] = window(engine, listener, samples, asked, args.tokens)
                for a, b in zip(
                    *(([x for row in said[w] for x in row or ()]) for w in ("along", "after")), strict=True
                ):
                    assert (a is None) == (b is None)
                    if a is not None and b is not None:
                        heard, apart = heard + 1, max(apart, abs(a.probs[0] - b.probs[0]))
                print(
                    f"round {r}: "
                    + "; ".join(
                        f"{w}: " + ", ".join(f"{k} {v:.2f} s" for k, v in row.items())
                        for w, row in sorted(pair.items())
                    )
                )
                if r:  # the first one warms up
                    rounds.append(pair)
        finally:
            server.kill()
    ratios = [pair["along"]["window"] / pair["after"]["window"] for pair in rounds]
    hidden = [1 - pair["along"]["waited"] / pair["after"]["waited"] for pair in rounds]
    return {
        **{k: v for k, v in vars(args).items() if k != "json"},
        "beliefs_compared": heard, "greatest_difference": apart,
        "ratio": statistics.median(ratios), "hidden_share": statistics.median(hidden),
        "ratios": ratios, "hidden_shares": hidden, "rounds_raw": rounds,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=32)
    parser.add_argument("--generations", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--rows", type=int, default=32, help="completions that are decoded side by side")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    found = measured(args)
    print(f"heard as it is rolled out, a window takes {found['ratio']:.1%} of what it takes heard afterwards")
    print(f"of the wait for the listener {found['hidden_share']:.1%} is hidden (medians of {args.rounds} rounds)")
    if args.json:
        args.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
