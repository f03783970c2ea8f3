"""Calibration (ECE) of a judge's `p_first`, before and after temperature scaling, from each of its two sources.

    python benchmarks/calibration.py --model RUN --json benchmarks/results/calibration.json --plot docs/calibration.png

The pairs are generated anew with the run's simulated voters. `verdict tokens`: the probability of the verdict token
after one greedy reasoning per order. `votes`: the share of sampled votes in both orders. The temperature is fitted on
one half of the pairs, split by scene; ECE is measured on the other half against the voters' majority. `floor` is the
expected ECE of a perfectly calibrated judge with the same confidences and number of pairs.
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
from reasoner_rm.release.calibrate import CalibrationFit, draw, fit_calibration, labelled_pairs

SETTING = pocket.Setting(levels=(1, 2), voters=6, noise=0.3)
SEED = 7_000
"""The seed of the pairs; a pocket run generates its own from its own seed."""


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
        pairs = labelled_pairs(load_samples(file))
        samples = [sample for sample, _ in pairs]
        sources = {
            f"votes, {args.votes} in each order": shares(judge, samples, args.votes),
            "verdict tokens, mean of both orders": verdict_probabilities(judge, samples),
        }
    fits = {name: fit_calibration(pairs, rows) for name, rows in sources.items()}
    result: dict[str, Any] = {"pairs": args.pairs, "seed": SEED, "with_a_majority": len(pairs)}
    result["sources"] = {name: with_floor(fit) for name, fit in fits.items()}
    print(json.dumps(result, indent=1))
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n")
    if args.plot:
        plot(fits, args.plot)


def shares(judge: Judge, samples: Sequence[Sample], votes: int, batch_size: int = 50) -> list[list[float]]:
    """For each sample the share of readable votes for its first candidate; empty where there are none."""
    rows: list[list[float]] = []
    for start in tqdm(range(0, len(samples), batch_size), desc="votes", unit="batch"):
        for votes_of_sample in judge.collect_votes(samples[start : start + batch_size], votes):
            readable = [c for b in votes_of_sample if (c := b.candidate) is not None]
            rows.append([readable.count(0) / len(readable)] if readable else [])
    return rows


def with_floor(fit: CalibrationFit) -> dict[str, Any]:
    floor = {name: expected_ece(result) for name, result in (("before", fit.before), ("after", fit.after))}
    return {**fit.as_json(), "floor": floor}


def expected_ece(result: Calibration, draws: int = 1000) -> float:
    """The mean ECE of simulated judges whose accuracy in every bin is the bin's confidence."""
    rng = np.random.default_rng(0)
    gaps = sum(np.abs(rng.binomial(b.n, b.confidence, draws) - b.n * b.confidence) for b in result.bins)
    return round(float(np.mean(gaps)) / result.n, 4)


def plot(fits: dict[str, CalibrationFit], file: Path) -> None:
    figure = Figure(figsize=(8.4, 4.2), layout="constrained")
    for axes, (name, fit) in zip(figure.subplots(1, 2, sharey=True), fits.items(), strict=True):
        draw(fit, axes, f"{name}\nT = {fit.temperature:.2f}")
    figure.savefig(file, dpi=110)


if __name__ == "__main__":
    main()
