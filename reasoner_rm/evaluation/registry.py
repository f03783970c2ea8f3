"""The benchmarks, by name. A new one is a new file, and one line here."""

from __future__ import annotations

import difflib
import importlib
from pathlib import Path
from typing import Any

from reasoner_rm.errors import InputError
from reasoner_rm.evaluation.benchmark import Benchmark
from reasoner_rm.schema import Sample

BENCHMARKS: dict[str, str] = {
    "vl_rewardbench": "vl_rewardbench:VL_REWARDBENCH",
}


def get_benchmark(name: str) -> Benchmark:
    """The benchmark of that name; `-` and `_` are alike.

    Raises:
        InputError: an unknown name, with the nearest known one.
    """
    name = name.replace("-", "_").lower()
    if name not in BENCHMARKS:
        near = difflib.get_close_matches(name, BENCHMARKS, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(BENCHMARKS)}"
        raise InputError(f"unknown benchmark {name!r}", remedy=hint)
    module, _, attribute = BENCHMARKS[name].partition(":")
    found: Benchmark = getattr(importlib.import_module(f"reasoner_rm.evaluation.benchmarks.{module}"), attribute)
    return found


def list_benchmarks() -> list[str]:
    """The names of all benchmarks."""
    return list(BENCHMARKS)


def load_benchmark(name: str, data: str | Path, split: str | None = None, **how: Any) -> list[Sample]:
    """A benchmark's items from its published files; arguments as in `Benchmark.load`."""
    return get_benchmark(name).load(data, split, **how)
