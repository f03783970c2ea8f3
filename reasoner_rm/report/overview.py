"""The introduction of a run's report: model, task and data, and a summary of each stage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from reasoner_rm.report.formatting import STAGE_NAMES, format_int, stage_name, stage_order
from reasoner_rm.report.run_reader import Run
from reasoner_rm.report.summary import SplitMetrics, Summary


@dataclass(frozen=True, slots=True)
class StageSummary:
    """One stage between the base model and the judge; ``accuracy`` is the held-out metric after it."""

    name: str
    description: str
    steps: float | None
    seconds: float | None
    accuracy: float | None


def stages_of(run: Run) -> list[str]:
    """Every stage with metrics, an evaluation or a duration, in the order in which they ran."""
    summary = run.summary or Summary()
    timed = summary.stage_seconds.keys() & STAGE_NAMES.keys()
    return sorted({*run.metrics, *summary.stages, *timed}, key=stage_order)


def stage_summaries(run: Run, rewards: list[str]) -> list[StageSummary]:
    """A summary of each stage, in the order in which they ran."""
    summary = run.summary or Summary()
    descriptions = _descriptions(summary.data, rewards)
    return [
        StageSummary(
            name=stage_name(stage),
            description=descriptions.get(stage, ""),
            steps=max((series.steps[-1] for series in run.metrics.get(stage, {}).values()), default=None),
            seconds=summary.stage_seconds.get(stage),
            accuracy=summary.stages.get(stage, {}).get("heldout", SplitMetrics()).accuracy,
        )
        for stage in stages_of(run)
    ]


def intro(summary: Summary) -> str:
    """Base model, task, listener and evaluation data in two sentences."""
    text = f"{summary.base or 'The base model'} was trained on the task {summary.task or 'of this run'}"
    if summary.listener:
        text += f", with {summary.listener} as the listener"
    splits = [
        f"{format_int(summary.data[split])} {name} samples"
        for split, name in (("heldout", "held-out"), ("ood", "out-of-distribution"))
        if summary.data.get(split)
    ]
    return f"{text}." + (f" It was evaluated on {' and '.join(splits)}." if splits else "")


def _descriptions(data: Mapping[str, float], rewards: list[str]) -> dict[str, str]:
    """What each stage trains on, from the sizes of the data and the rewards."""
    descriptions = {}
    if "cold_start" in data:
        descriptions["cold_start"] = f"SFT on {format_int(data['cold_start'])} examples with reasoning"
    if "train" in data:
        uses = (("sft", "kept as SFT examples"), ("rl", "kept for GRPO"))
        kept = [f"{format_int(data[part])} {use}" for part, use in uses if part in data]
        text = f"completions sampled for {format_int(data['train'])} prompts"
        descriptions["rejection_sampling"] = text + (f": {', '.join(kept)}" if kept else "")
    if prompts := data.get("rl", data.get("train")):
        text = f"RL on {format_int(prompts)} prompts"
        descriptions["grpo"] = text + (f"; rewards: {', '.join(rewards)}" if rewards else "")
    return descriptions
