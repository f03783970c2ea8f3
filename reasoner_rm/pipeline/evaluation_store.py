"""What the evaluations of a run leave in its directory: `evaluations/*.jsonl`, and the metrics in `summary.json`.

A stage has one evaluation on a split, which the report and the model card show. It is replaced by one that covers the
whole split or at least as many samples of it. A smaller one (`eval.limit`), or one of other data than the run's, is
stored beside it: in `evaluations/partial/`, and under `partial` in the summary.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

from reasoner_rm.evaluation import Evaluation
from reasoner_rm.pipeline.context import RunContext
from reasoner_rm.training.run_dir import CONFIG
from reasoner_rm.utils.files import atomic_write
from reasoner_rm.utils.parse_files import read_yaml

PARTIAL = "partial"


def store_evaluation(context: RunContext, stage: str, split: str, result: Evaluation, size: int) -> None:
    """Store the evaluation of a stage on a split of so many samples."""
    metrics = result.metrics.as_json() | {"of": size}
    summary = context.run.summary()
    stages: dict[str, Any] = summary.get("stages", {})
    stored = stages.get(stage, {}).get(split)
    partial = _is_partial(context, split, metrics, stored)
    name = f"{stage}-{split}.jsonl"
    file = context.run.path / "evaluations" / (f"{PARTIAL}/{name}" if partial else name)
    with atomic_write(file) as out:
        for row in result.records(context.run.path):
            out.write(json.dumps(row, ensure_ascii=False) + "\n")
    if partial:
        _store_partial(context, stage, split, metrics)
        accuracy = "" if metrics["accuracy"] is None else f", accuracy {metrics['accuracy']:.1%}"
        print(f"{metrics['n']} of {size} samples{accuracy}: stored as {file}, beside the run's own", file=sys.stderr)
        return
    stages.setdefault(stage, {})[split] = metrics
    context.update_summary(stages=stages)
    context.add_counts(**{split: metrics["n"]})


def store_blind(context: RunContext, stage: str, split: str, result: Evaluation, size: int) -> None:
    """Store the blind baseline of the run, which was computed on a split of so many samples."""
    metrics = result.metrics.as_json() | {"of": size}
    if _is_partial(context, split, metrics, context.run.summary().get("blind")):
        _store_partial(context, stage, "blind", metrics)
    else:
        context.update_summary(blind=metrics)


def forget_evaluations(context: RunContext, stage: str) -> None:
    """Remove the evaluations of a stage's earlier checkpoint, and the blind baseline, from the summary."""
    summary = context.run.summary()
    for name in ("stages", PARTIAL):
        if stage in summary.get(name, {}):
            context.update_summary(**{name: {k: v for k, v in summary[name].items() if k != stage}, "blind": {}})


def _is_partial(context: RunContext, split: str, metrics: Mapping[str, Any], stored: Mapping[str, Any] | None) -> bool:
    """Whether an evaluation may not take the place of the stored one."""
    if not stored:
        return False
    config = context.run.path / CONFIG
    remedy = "repair it: the settings that the run began with"
    data = read_yaml(config, remedy).get("data", {}) if config.is_file() else {}
    asked = context.config.model_dump(mode="json")["data"][split]
    smaller = metrics["n"] < min(metrics["of"], stored.get("n", 0))
    return smaller or data.get(split, asked) != asked


def _store_partial(context: RunContext, stage: str, name: str, metrics: Mapping[str, Any]) -> None:
    partial: dict[str, Any] = context.run.summary().get(PARTIAL, {})
    partial.setdefault(stage, {})[name] = metrics
    context.update_summary(partial=partial)
