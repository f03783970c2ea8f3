"""`reasoner-rm pocket` over several seeds: medians of its metrics, time and memory.

    python benchmarks/pocket_seeds.py --json benchmarks/results/pocket_seeds.json
    python benchmarks/pocket_seeds.py --task detection --json benchmarks/results/pocket_seeds_detection.json
    python benchmarks/pocket_seeds.py --world digits --json benchmarks/results/pocket_seeds_digits.json

Each seed is a run of its own: other data and rollouts, the same committed base and listener. Prints a table; the JSON
has the summary of every run.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

STAGES = ("cold_start", "rejection_sampling", "grpo")
METRICS = ("accuracy", "mean_ap", "consistency", "first_position", "well_formed", "contradiction")


def run(seed: int, folder: Path, extra: list[str]) -> dict[str, Any]:
    """Run one seed and return its summary."""
    out = folder / f"seed-{seed}"
    command = [
        sys.executable,
        "-m",
        "reasoner_rm",
        "pocket",
        "--seed",
        str(seed),
        "--out",
        str(out),
        *extra,
    ]
    subprocess.run(command, check=True)
    return json.loads((out / "summary.json").read_text(encoding="utf-8"))


def median(values: list[float | None]) -> float | None:
    """The median of the values that are not None; None if there are none."""
    numbers = [v for v in values if v is not None]
    return statistics.median(numbers) if numbers else None


def medians(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """The medians over seeds."""
    table: dict[str, Any] = {
        stage: {
            split: {f: median([r["stages"][stage][split].get(f) for r in runs]) for f in METRICS}
            for split in ("heldout", "ood")
        }
        for stage in STAGES
    }
    table["blind"] = median([r["blind"]["accuracy"] for r in runs])
    table["seconds"] = statistics.median(r["seconds"] for r in runs)
    table["peak_rss_mb"] = statistics.median(r["peak_rss_mb"] for r in runs)
    return table


def show(runs: list[dict[str, Any]], table: dict[str, Any]) -> None:
    """Print the table, and each seed's held-out accuracies with their intervals."""
    print(f"{'':12}{'split':9}" + "".join(f"{f:>16}" for f in METRICS))
    for stage in STAGES:
        for split in ("heldout", "ood"):
            print(f"{stage:12}{split:9}" + "".join(_cell(table[stage][split][f]) for f in METRICS))
    for r in runs:
        spans = (r["stages"][s]["heldout"] for s in STAGES)
        print(
            f"seed {r['seed']}: " + " -> ".join("{accuracy:.3f} {accuracy_interval}".format(**s) for s in spans), end=""
        )
        print(
            ", blind {accuracy:.3f} {accuracy_interval}".format(**r["blind"])
            + f", {r['seconds']:.0f} s, {r['peak_rss_mb']:.0f} MB"
        )
    print(f"medians: blind {table['blind']:.3f}, {table['seconds']:.0f} s, {table['peak_rss_mb']:.0f} MB")


def _cell(value: float | None) -> str:
    return f"{'-':>16}" if value is None else f"{value:16.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--json", type=Path, help="write every summary and the medians here")
    parser.add_argument("--keep", type=Path, help="keep the run directories in this folder")
    args, extra = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as scratch:
        runs = [run(seed, args.keep or Path(scratch), extra) for seed in args.seeds]
    table = medians(runs)
    show(runs, table)
    if args.json:
        machine = {"cpus": os.cpu_count(), "machine": platform.machine(), "python": platform.python_version()}
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(
            json.dumps({"machine": machine, "arguments": extra, "medians": table, "runs": runs}, indent=1) + "\n"
        )


if __name__ == "__main__":
    main()
