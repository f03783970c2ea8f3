"""Speed of generating the pocket world: samples per second and task, drawn, encoded and written to disk.

python benchmarks/pocket_world.py [--side 112] [--n 4000] [--workers 2] [--task T]… [--json FILE|-]
The files are written to TMPDIR; a memory disk (TMPDIR=/dev/shm) excludes the speed of the disk. Samples per second are
given for wall time and for CPU time; other load on the machine affects the latter less.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from data_recipes.pocket import MAKERS, Setting, build


def rate(task: str, n: int, side: int, workers: int, split: Any) -> tuple[float, float, int]:
    """One build: samples per second, samples per CPU second, and the number of images."""
    with tempfile.TemporaryDirectory() as folder:
        start, spent = time.perf_counter(), core_seconds()
        build(Path(folder), split, task, n, 0, setting=Setting(side=side), workers=workers)
        took, spent = time.perf_counter() - start, core_seconds() - spent
        return n / took, n / spent, sum(1 for _ in Path(folder).rglob("*.png"))


def core_seconds() -> float:
    """CPU seconds of this process and its finished children."""
    return sum(
        u.ru_utime + u.ru_stime for u in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--side", type=int, default=112)
    parser.add_argument("--n", type=int, default=4000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--split", default="train")
    parser.add_argument("--task", action="append", choices=list(MAKERS), help="only this task (repeatable)")
    parser.add_argument("--json", metavar="FILE|-", help="also write the results as one JSON object")
    args = parser.parse_args()
    out = sys.stderr if args.json == "-" else sys.stdout
    results: dict[str, Any] = {}
    for task in args.task or MAKERS:
        runs = [rate(task, args.n, args.side, args.workers, args.split) for _ in range(args.repeats)]
        rates, per_core, images = [r for r, _, _ in runs], [c for _, c, _ in runs], runs[0][2]
        results[task] = {
            "samples_per_s": rates,
            "median": statistics.median(rates),
            "samples_per_core_s": per_core,
            "median_per_core_s": statistics.median(per_core),
            "images_per_sample": images / args.n,
        }
        rates_text = (
            f"{results[task]['median']:7,.0f} samples/s, {results[task]['median_per_core_s']:7,.0f} per CPU second"
        )
        print(f"{task:20} {rates_text}, {images / args.n:g} images each", file=out)
    result = {
        **{name: getattr(args, name) for name in ("side", "n", "workers", "repeats", "split")},
        "cores": os.cpu_count(),
        "load_average": list(os.getloadavg()),
        "python": platform.python_version(),
        "tasks": results,
    }
    if args.json == "-":
        print(json.dumps(result))
    elif args.json:
        Path(args.json).write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
