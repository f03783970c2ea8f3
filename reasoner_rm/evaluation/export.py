"""A result in the forms of others: an entry of the hub's `model-index`, and a task of lmms-eval."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reasoner_rm.evaluation.benchmark import Benchmark
from reasoner_rm.evaluation.protocol import Protocol
from reasoner_rm.utils.files import atomic_write


def model_index(scores: Mapping[str, Any]) -> dict[str, Any]:
    """An entry of a model card's `model-index` results, from a `scores.json`: every overall figure, its protocol's name
    beside it."""
    benchmark, protocol = scores["benchmark"], scores["protocol"]
    metrics = [
        {
            "type": name.replace(" ", "_"),
            "value": figure["value"],
            "name": f"{name} (protocol {protocol['name']})",
            "args": {"n": figure["n"], "interval": figure["interval"], "unparsed": scores["diagnostics"]["unparsed"]},
        }
        for name, figure in scores["metrics"].items()
        if figure["value"] is not None
    ]
    dataset = {"name": benchmark["title"], "type": benchmark["hub"] or benchmark["name"], "split": scores["split"]}
    return {"task": {"type": "image-text-to-text"}, "dataset": dataset, "metrics": metrics}


UTILS = '''\
"""The task's functions: items, prompts and marks are reasoner_rm's own."""

from reasoner_rm.evaluation.lmms_eval import LmmsTask

TASK = LmmsTask({name!r}, {protocol!r})
doc_to_visual, doc_to_text, doc_to_target = TASK.visual, TASK.text, TASK.target
process_results, aggregate = TASK.process, TASK.aggregate
'''


def write_lmms_task(benchmark: Benchmark, protocol: Protocol, out: str | Path) -> Path:
    """Write `NAME_PROTOCOL.yaml` and its `utils.py`, by which lmms-eval runs a protocol's first vote; the YAML's path.

    Each item is asked in the one order that the protocol's first vote sees; what needs two orders or several votes
    (``both`` orders, majorities) is this project's own to run.
    """
    folder = Path(out)
    name = f"{benchmark.name}_{protocol.published}"
    generation = {
        "max_new_tokens": 1024, "temperature": protocol.temperature, "top_p": protocol.top_p,
        "do_sample": protocol.temperature > 0,
    }  # fmt: skip
    rows = [
        f"task: {name}",
        f"dataset_path: {benchmark.hub or benchmark.name}",
        *([f"dataset_name: {benchmark.config}"] if benchmark.config else []),
        f"test_split: {benchmark.splits[0]}",
        "output_type: generate_until",
        *(f"{key}: !function utils.{key}" for key in ("doc_to_visual", "doc_to_text", "doc_to_target")),
        "process_results: !function utils.process_results",
        f"generation_kwargs: {json.dumps(generation)}",
        "metric_list:",
        "  - metric: score",
        "    aggregation: !function utils.aggregate",
        "    higher_is_better: true",
        "metadata:",
        f"  - protocol: {json.dumps(protocol.about)}",
    ]
    with atomic_write(folder / "utils.py") as file:
        file.write(UTILS.format(name=benchmark.name, protocol=protocol.published))
    with atomic_write(folder / f"{name}.yaml") as file:
        file.write("\n".join(rows) + "\n")
    return folder / f"{name}.yaml"
