"""Equality over processes, resuming after kills, and stability of GRPO training, on runs of the command line.

    python benchmarks/training.py equal  --json benchmarks/results/training_equal.json
    python benchmarks/training.py kills  --json benchmarks/results/training_kills.json
    python benchmarks/training.py steady --json benchmarks/results/training_steady.json

`equal`: two processes (DDP, ZeRO-2, ZeRO-3) against one, over 20 steps of the same global batches and the same
completions. `kills`: a GRPO run on the pocket world is killed with SIGKILL at random moments, 20 times in all, and
resumed, and compared with an uninterrupted run. `steady`: 200 steps of the pocket recipe: memory over time, and the
shares of a step's time.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "helpers"))

STEPS = 20
TIMED = "time/"


# --- two processes against one ----------------------------------------------------------------------------------------


def equal(folder: Path) -> dict[str, Any]:
    """The greatest differences of two processes from one, for DDP, ZeRO-2 and ZeRO-3."""
    from launch_helpers import apart, train

    from reasoner_rm.models.tiny import make_tiny

    model = make_tiny(folder / "model", ["Image 1 is better than a square picture <think></think><answer></answer>"])
    section: dict[str, Any] = {"max_steps": STEPS, "loss_type": "dapo", "max_tokens_per_forward": 150, "beta": 0.04}
    alone = train(folder / "alone", {"model": str(model), "section": section | {"gradient_accumulation_steps": 2}})
    result: dict[str, Any] = {}
    for kind in ("ddp", "zero2", "zero3"):
        both = train(
            folder / kind,
            {"model": str(model), "kind": kind, "section": section | {"gradient_accumulation_steps": 1}},
            2,
        )
        assert (alone["world"], both["world"]) == (1, 2) and both["sampled"] == alone["sampled"]
        pairs = list(zip(both["log"], alone["log"], strict=True))
        columns = {name: [(b[name], a[name]) for b, a in pairs] for name in ("loss", "kl", "entropy", "grad_norm")}
        result[kind] = {
            "steps": len(pairs),
            "world": both["world"],
            "distributed_type": both["kind"],
            "wrapper": both["wrapper"],
            "apart": {n: max(abs(b - a) for b, a in column) for n, column in columns.items()}
            | {"weights": apart(both, alone)},
            "two_and_one": columns,
        }
        print(f"{kind:6} {both['kind']:10} " + ", ".join(f"{n} {v:.1e}" for n, v in result[kind]["apart"].items()))
    return result


# --- kills ----------------------------------------------------------------------------------------------------------


def kills(folder: Path, count: int = 20, steps: int = 16) -> dict[str, Any]:
    """Runs that are killed at random moments, five times each, resumed, and compared with an uninterrupted one."""
    from reasoner_rm.training.checkpoints import Checkpoints

    config = pocket_config(folder, {"grpo": {"max_steps": steps, "save_steps": 2, "prompts_per_device": 8}})
    start = time.monotonic()
    expected = _grpo(config, folder / "uninterrupted")
    training = sum(row["time/step"] for row in rows_of(folder / "uninterrupted"))
    print(f"uninterrupted: {time.monotonic() - start:.0f} s, of which training {training:.0f} s")
    rng, moments, runs = random.Random(time.time_ns()), [], []
    while len(moments) < count:
        out = folder / f"run-{len(runs)}"
        for _ in range(min(5, count - len(moments))):
            process = _start(config, out)
            seen = len(rows_of(out))
            while process.poll() is None and len(rows_of(out)) <= seen:
                time.sleep(0.02)
            time.sleep(rng.random() * training / 4)
            if process.poll() is not None:
                break
            process.kill()
            process.wait()
            kept = Checkpoints(out / "checkpoints" / "grpo.steps", 2, 2).steps()
            moments.append({"run": len(runs), "rows": len(rows_of(out)), "states": kept, "readable": readable(out)})
            print(moments[-1])
        _grpo(config, out)
        same = weights(out).keys() == expected.keys() and all(_equal(weights(out)[n], expected[n]) for n in expected)
        rows = strip(rows_of(out)) == strip(rows_of(folder / "uninterrupted"))
        runs.append({"weights_bitwise": same, "metrics_equal": rows, "steps": len(rows_of(out))})
        print(runs[-1])
    return {"kills": len(moments), "steps": steps, "training_seconds": training, "moments": moments, "runs": runs}


def readable(out: Path) -> bool:
    """Whether the report of a killed run can be written."""
    from reasoner_rm.report import write_report

    return write_report(out).stat().st_size > 0


def weights(out: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return load_file(out / "checkpoints" / "grpo" / "model.safetensors")


def _equal(a: Any, b: Any) -> bool:
    import torch

    return torch.equal(a, b)


def strip(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of metrics without times."""
    return [{k: v for k, v in row.items() if not k.startswith(TIMED)} for row in rows]


# --- a long run -----------------------------------------------------------------------------------------------------


def steady(folder: Path, steps: int = 200) -> dict[str, Any]:
    """Memory by step, and shares of time by phase, of GRPO in the pocket recipe."""
    config, out = pocket_config(folder, {"grpo": {"max_steps": steps}}), folder / "run"
    process = _start(config, out)
    by_step: dict[int, list[int]] = {}
    watched = psutil.Process(process.pid)
    while process.poll() is None:
        with contextlib.suppress(psutil.Error):
            by_step.setdefault(len(rows_of(out)), []).append(watched.memory_info().rss)
        time.sleep(0.5)
    assert process.returncode == 0, log_tail(out)
    rows = rows_of(out)
    memory = [statistics.median(by_step[s]) / 2**20 for s in sorted(by_step) if 0 < s < steps]
    half = (len(memory) - len(memory) // 5) // 2  # of the steps after the first fifth
    early, late = statistics.median(memory[-2 * half : -half]), statistics.median(memory[-half:])
    spent = {n: sum(r.get(n, 0.0) for r in rows) for n in sorted({n for r in rows for n in r if n.startswith(TIMED)})}
    shares = {n.removeprefix(TIMED): s / spent["time/step"] for n, s in spent.items() if n != "time/step"}
    kept = held(memory)
    print(f"held between steps: {kept[0]:.0f} MB, at last {kept[-1]:.0f} ({kept[-1] / kept[0] - 1:+.2%})")
    print(f"medians of all steps: {early:.0f} MB, in the later half {late:.0f} ({late / early - 1:+.2%})")
    print("shares of a step: " + ", ".join(f"{n} {s:.1%}" for n, s in sorted(shares.items(), key=lambda x: -x[1])))
    return {
        "steps": len(rows),
        "seconds_a_step": statistics.median(r["time/step"] for r in rows),
        "shares": shares,
        "memory_mb": [round(m, 1) for m in memory],
        "held_mb": kept,
        "held_change": kept[-1] / kept[0] - 1,
        "memory_early_mb": early,
        "memory_late_mb": late,
        "memory_change": late / early - 1,
    }


def held(memory: list[float], span: int = 20, warm: int = 40) -> list[float]:
    """The memory held between steps: the minimum of each ``span`` steps. The first ``warm`` steps, which fill the image
    caches, are left out."""
    return [round(min(memory[i : i + span]), 1) for i in range(warm, len(memory), span)]


# --- runs -----------------------------------------------------------------------------------------------------------


def pocket_config(folder: Path, changes: dict[str, dict[str, Any]]) -> Path:
    """The configuration of the pocket preference recipe, with its data built and a short cold start trained."""
    from reasoner_rm.pipeline.demos import DatasetSizes
    from reasoner_rm.pipeline.pocket import demo_config, get_demo

    demo = get_demo("shapes", "preference")
    sets = tuple(f"{section}.{name}={value}" for section, values in changes.items() for name, value in values.items())
    config = demo_config(demo, folder, 0, sets)
    demo.build(folder / "data", DatasetSizes(cold_start=600, train=320, heldout=16, ood=16), 0)
    file, start = folder / "config.yaml", folder / "start"
    file.write_text(config.yaml())
    assert _start(file, start, "sft", "sft.max_steps=140").wait() == 0, log_tail(start)
    started = config.model.model_copy(update={"path": str(start / "checkpoints" / "cold_start")})
    file.write_text(config.model_copy(update={"model": started}).yaml())
    return file


def _start(config: Path, out: Path, verb: str = "grpo", *sets: str) -> subprocess.Popen[bytes]:
    out.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "reasoner_rm", verb, str(config), "--resume"]
    for override in (f"run.out={out}", *sets):
        command += ["--set", override]
    with (out.parent / f"{out.name}.log").open("ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | {"OMP_NUM_THREADS": "1"})


def log_tail(out: Path) -> str:
    """The end of a run's output."""
    return (out.parent / f"{out.name}.log").read_text()[-3000:]


def _grpo(config: Path, out: Path) -> dict[str, Any]:
    """Run to the end and return the final weights."""
    process = _start(config, out)
    assert process.wait() == 0, log_tail(out)
    return weights(out)


def rows_of(out: Path) -> list[dict[str, Any]]:
    """The complete lines of a run's metrics."""
    file = out / "metrics.jsonl"
    return list(_complete_lines(file)) if file.is_file() else []


def _complete_lines(file: Path) -> Iterator[dict[str, Any]]:
    for line in file.read_text().splitlines():
        with contextlib.suppress(json.JSONDecodeError):
            yield json.loads(line)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("equal", "kills", "steady"))
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        result = {"equal": equal, "kills": kills, "steady": steady}[args.what](Path(scratch))
    if args.json:
        machine = {"cpus": os.cpu_count(), "machine": platform.machine(), "python": platform.python_version()}
        args.json.write_text(json.dumps({"machine": machine, **result}, indent=1) + "\n")


if __name__ == "__main__":
    main()
