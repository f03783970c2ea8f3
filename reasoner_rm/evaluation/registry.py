"""The benchmarks, by name. A new one is a new file, and one line here."""

from __future__ import annotations

import dataclasses
import difflib
import importlib
from pathlib import Path
from typing import Any

from reasoner_rm.errors import InputError
from reasoner_rm.evaluation.benchmark import Benchmark
from reasoner_rm.schema import Sample
from reasoner_rm.utils.user_code import is_in_file, load_from_file

BENCHMARKS: dict[str, str] = {
    "vl_rewardbench": "vl_rewardbench:VL_REWARDBENCH",
    "multimodal_rewardbench": "multimodal_rewardbench:MULTIMODAL_REWARDBENCH",
    "mm_rlhf_rewardbench": "mm_rlhf_rewardbench:MM_RLHF_REWARDBENCH",
    "vlrmbench": "vlrmbench:VLRMBENCH",
    "vilbench": "vilbench:VILBENCH",
    "mj_bench": "mj_bench:MJ_BENCH",
    "mj_bench_bias": "mj_bench:MJ_BENCH_BIAS",
    "imagereward": "image_preference:IMAGEREWARD",
    "hpdv2": "image_preference:HPDV2",
    "pickapic": "image_preference:PICKAPIC",
    "rapidata": "image_preference:RAPIDATA",
    "rapidata_as_rated": "image_preference:RAPIDATA_AS_RATED",
    "genai_bench_image": "genai_bench:GENAI_IMAGE",
    "genai_bench_edit": "genai_bench:GENAI_EDIT",
    "genai_bench_video": "genai_bench:GENAI_VIDEO",
    "videogen_rewardbench": "videogen_rewardbench:OVERALL",
    "videogen_rewardbench_vq": "videogen_rewardbench:VISUAL",
    "videogen_rewardbench_mq": "videogen_rewardbench:MOTION",
    "videogen_rewardbench_ta": "videogen_rewardbench:ALIGNMENT",
    "editreward_bench": "editreward_bench:EDITREWARD_BENCH",
    "geneval": "geneval:GENEVAL",
    "vicrit_bench": "vicrit_bench:VICRIT_BENCH",
    "refcoco": "localisation:REFCOCO",
    "coco": "localisation:COCO",
    "ovd": "localisation:OVD",
    "pope": "pope:POPE",
    "mmhal_bench": "mmhal_bench:MMHAL_BENCH",
    "pocket": "samples:POCKET",
    "samples": "samples:SAMPLES",
}


def get_benchmark(name: str) -> Benchmark:
    """The benchmark of that name (`-` and `_` are alike), or one of the user's own, ``path/to/file.py:NAME``.

    Raises:
        InputError: an unknown name, with the nearest known one.
    """
    if is_in_file(name):
        own = load_from_file(name)
        if not isinstance(own, Benchmark):
            raise InputError(f"{name} is a {type(own).__name__}, no Benchmark", remedy="see CONTRIBUTING.md")
        return dataclasses.replace(own, name=name)
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
