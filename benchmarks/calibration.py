"""How far a judge's `p_first` can be taken at its word, before and after one temperature, from both of its sources.

    python benchmarks/calibration.py --model RUN --json benchmarks/results/calibration.json --plot docs/calibration.png

Pairs that the run never saw are drawn anew, with the run's own voters. `tokens` is the verdict token's probability
after one greedy reasoning in each order; `votes` the share of sampled votes in both. The temperature is fitted on half
of the pairs, by scene, and everything is measured on the other half, against what most voters said. `floor` is the ECE
that a perfectly calibrated judge of the same confidences shows on so few pairs.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from tqdm.auto import tqdm

from data_recipes import pocket
from reasoner_rm import Judge, Sample, load_samples
from reasoner_rm.evaluation.calibration import Calibration
from reasoner_rm.judge.temperature_scaling import verdict_probabilities
from reasoner_rm.release.calibrate import Calibrated, calibrated, draw, labelled

SETTING = pocket.Setting(levels=(1, 2), voters=6, noise=0.3)
SEED = 7_000
"""Of the pairs; a pocket run draws its own with its seed."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="a run of the pocket world's preferences")
    parser.add_argument("--pairs", type=int, default=1500)
    parser.add_argument("--votes", type=int, default=8, help="per order")
    parser.add_argument("--max-tokens", type=int, default=96)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    args = parser.parse_args()
    judge = Judge.from_pretrained(args.model, "transformers", max_tokens=args.max_tokens)
    with tempfile.TemporaryDirectory() as folder:
        file = pocket.build(Path(folder), "heldout", "image_preference", args.pairs, SEED, setting=SETTING)
        known = labelled(load_samples(file))
        samples = [sample for sample, _ in known]
        sources = {
            f"votes, {args.votes} in each order": shares(judge, samples, args.votes),
            "verdict tokens, mean of both orders": verdict_probabilities(judge, samples),
        }
    found = {name: calibrated(known, rows) for name, rows in sources.items()}
    result: dict[str, Any] = {"pairs": args.pairs, "seed": SEED, "with_a_majority": len(known)}
    result["sources"] = {name: told(figures) for name, figures in found.items()}
    print(json.dumps(result, indent=1))
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n")
    if args.plot:
        plot(found, args.plot)


def shares(judge: Judge, samples: Sequence[Sample], votes: int, at_once: int = 50) -> list[list[float]]:
    """For each sample the share of readable votes for its first candidate; empty where there are none."""
    found: list[list[float]] = []
    for start in tqdm(range(0, len(samples), at_once), desc="votes", unit="batch"):
        for row in judge.ballots(samples[start : start + at_once], votes):
            readable = [c for b in row if (c := b.candidate) is not None]
            found.append([readable.count(0) / len(readable)] if readable else [])
    return found


def told(found: Calibrated) -> dict[str, Any]:
    floor = {name: perfect(figures) for name, figures in (("before", found.before), ("after", found.after))}
    return {**found.as_json(), "floor": floor}


def perfect(figures: Calibration, draws: int = 1000) -> float:
    """The mean ECE when every answer is right as often as its bin is confident."""
    rng = np.random.default_rng(0)
    gaps = sum(np.abs(rng.binomial(b.n, b.confidence, draws) - b.n * b.confidence) for b in figures.bins)
    return round(float(np.mean(gaps)) / figures.n, 4)


def plot(found: dict[str, Calibrated], file: Path) -> None:
    figure = Figure(figsize=(8.4, 4.2), layout="constrained")
    for axes, (name, what) in zip(figure.subplots(1, 2, sharey=True), found.items(), strict=True):
        draw(what, axes, f"{name}\nT = {what.temperature:.2f}")
    figure.savefig(file, dpi=110)


if __name__ == "__main__":
    main()
