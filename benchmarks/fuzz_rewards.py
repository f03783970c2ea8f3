"""10,000 malformed completions for every reward: faults, rewarded texts, and CPU milliseconds per text.

Formulas are compared in a child process, so theirs are wall time and depend on the load of the machine.

python benchmarks/fuzz_rewards.py --json benchmarks/results/fuzz_rewards.json
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "helpers"))

from reward_fuzzing import MATH, REWARDS, SAMPLES, VARIANTS, fuzz, percentile

from reasoner_rm.schema import Sample


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, default=10_000)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    rows = {}
    jobs: list[tuple[str, str, tuple[Sample, ...], dict[str, Any]]] = [(name, name, SAMPLES, {}) for name in REWARDS]
    jobs += [(f"{name} {params}", name, SAMPLES, params) for name, params in VARIANTS]
    jobs.append(("accuracy, formulas", "accuracy", (MATH,), {}))
    for title, name, samples, params in jobs:
        clock = time.perf_counter if samples == (MATH,) else time.process_time
        result = fuzz(REWARDS[name], args.texts, samples, params, clock=clock)
        milliseconds = {f"p{share:g}": 1000 * percentile(result.seconds, share / 100) for share in (50, 99)}
        rows[title] = {
            "texts": args.texts, "faults": result.faults, "paid": result.paid,
            "ms": {k: round(v, 4) for k, v in milliseconds.items()} | {"max": round(1000 * max(result.seconds), 2)},
        }  # fmt: skip
        print(
            f"{title:22} {args.texts} texts, {len(result.faults)} faults, {result.paid} paid; "
            f"p50 {milliseconds['p50']:.3f} ms, p99 {milliseconds['p99']:.2f} ms (requirement: 10)",
            flush=True,
        )
    if args.json:
        where = {"python": platform.python_version(), "machine": platform.machine()}
        args.json.write_text(json.dumps({"where": where, "rewards": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
