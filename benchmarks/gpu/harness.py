"""Measurements of one stage: each is written as soon as it is there, and one that fails does not stop the others."""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpo_step
import torch

from reasoner_rm.utils.memory import release_memory

warnings.filterwarnings("ignore")
CUDA = torch.cuda.is_available()
DEVICE = "cuda" if CUDA else "cpu"
SMOKE = bool(os.environ.get("SMOKE")) or not CUDA
OUT = Path(os.environ.get("OUT", "benchmarks/results/gpu"))
STAGE = Path(sys.argv[0]).stem
END = time.time() + float(sys.argv[1] if len(sys.argv) > 1 else 600)
found: dict[str, Any] = {}


def put(name: str, value: Any) -> None:
    """Write a figure to the stage's JSON, and print it."""
    found[name] = value
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / f"{STAGE}.json").write_text(json.dumps(found, indent=1, default=str) + "\n")
    print(f"{STAGE}: {name}: {json.dumps(value, default=str)}", flush=True)


def attempt(name: str, work: Callable[[], Any], seconds: float = 10) -> Any:
    """One measurement, which needs about so many seconds; None where it failed or there is no time for it."""
    if time.time() + seconds > END:
        put(name, "left out: no time")
        return None
    try:
        value = work()
    except Exception as error:
        put(name, f"FAILED {type(error).__name__}: {str(error)[:300]}")
        traceback.print_exc()
        value = None
    else:
        put(name, value)
    release_memory()
    return value


def wall(work: Callable[[], Any]) -> float:
    """Seconds of one call, until the device has done it."""
    grpo_step.synchronize()
    began = time.perf_counter()
    work()
    grpo_step.synchronize()
    return time.perf_counter() - began


def milliseconds(work: Callable[[], Any], repetitions: int = 5, warm: int = 2) -> float:
    """The median of a call that is warm."""
    for _ in range(warm):
        work()
    return round(1e3 * statistics.median(wall(work) for _ in range(repetitions)), 3)


def peak_mb(work: Callable[[], Any]) -> int:
    """Peak memory of a call above the level before it."""
    return round(grpo_step.peak_mb(work))


def launches(work: Callable[[], Any]) -> int:
    """How many kernels the device runs; on a CPU, how many operators."""
    kind = torch.profiler.ProfilerActivity.CUDA if CUDA else torch.profiler.ProfilerActivity.CPU
    with torch.profiler.profile(activities=[kind], acc_events=True) as profile:
        work()
        grpo_step.synchronize()
    wanted = torch.autograd.DeviceType.CUDA if CUDA else torch.autograd.DeviceType.CPU
    return sum(event.device_type == wanted for event in profile.events())


def profile(work: Callable[[], Any], file: str) -> dict[str, Any]:
    """Write torch's profile of a warm call to a file of the results; seconds, and the runtime's calls."""
    kinds = [torch.profiler.ProfilerActivity.CPU] + ([torch.profiler.ProfilerActivity.CUDA] if CUDA else [])
    work()
    with torch.profiler.profile(activities=kinds) as p:
        seconds = wall(work)
    averages = p.key_averages()
    order = "self_cuda_time_total" if CUDA else "self_cpu_time_total"
    (OUT / file).write_text(averages.table(sort_by=order, row_limit=40, max_name_column_width=80))
    device = sum(e.self_device_time_total for e in averages if str(e.device_type).endswith("CUDA")) / 1e6
    names = "cudaLaunchKernel", "cudaStreamSynchronize", "cudaMemcpyAsync", "aten::item", "aten::nonzero"
    calls = {e.key: [e.count, round(e.cpu_time_total / 1e3, 1)] for e in averages if e.key in names}
    return {"s with the profiler": round(seconds, 3), "device s": round(device, 3), "calls [count, cpu ms]": calls}


def relative_error(found: torch.Tensor, wanted: torch.Tensor) -> float:
    return float(f"{(found.double() - wanted.double()).norm() / wanted.double().norm():.2e}")


@contextlib.contextmanager
def replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    """An attribute for a while."""
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)
