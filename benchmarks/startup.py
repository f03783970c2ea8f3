"""Start-up time of the command line: `--help`, and a config with a wrong key. Medians of several runs.

python benchmarks/startup.py
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RUNS = 7


def seconds(*args: str) -> float:
    """The median wall time of a command."""
    times = []
    for _ in range(RUNS):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "reasoner_rm", *args], capture_output=True)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "wrong.yaml"
        config.write_text("grpo:\n  betta: 1\n")
        print(f"--help           {seconds('--help'):.3f} s (goal: 0.5)")
        print(f"wrong config key {seconds('grpo', str(config)):.3f} s (goal: 2)")
