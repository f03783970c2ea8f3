"""What was trained on what, in plain words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from reasoner_rm.report.run_reader import Run
from reasoner_rm.report.summary import Scores, Summary
from reasoner_rm.report.words import STAGES, format_int, stage_name, stage_order


@dataclass(frozen=True, slots=True)
class StageSummary:
    """One stage on the way from the base model to the judge; ``accuracy`` is held out, after it."""

    name: str
    what: str
    steps: float | None
    seconds: float | None
    accuracy: float | None


def stages_of(run: Run) -> list[str]:
    """Every stage that left a trace, as they ran."""
    known = run.summary or Summary()
    return sorted({*run.metrics, *known.stages, *(known.stage_seconds.keys() & STAGES.keys())}, key=stage_order)


def stops(run: Run, rewards: list[str]) -> list[StageSummary]:
    """The way of a run, stage by stage."""
    known = run.summary or Summary()
    told = _told(known.data, rewards)
    return [
        StageSummary(
            name=stage_name(stage),
            what=told.get(stage, ""),
            steps=max((series.steps[-1] for series in run.metrics.get(stage, {}).values()), default=None),
            seconds=known.stage_seconds.get(stage),
            accuracy=known.stages.get(stage, {}).get("heldout", Scores()).accuracy,
        )
        for stage in stages_of(run)
    ]


def intro(summary: Summary) -> str:
    """One sentence on who was taught what, one on where it was tested."""
    return " ".join(_sentences(summary))


def _sentences(summary: Summary) -> Iterator[str]:
    taught = f"{summary.base or 'The base model'} was taught the task {summary.task or 'of this run'}"
    listener = f", with {summary.listener} as the listener that reads its reasoning" if summary.listener else ""
    yield f"{taught}{listener}."
    tested = [
        f"{format_int(summary.data[split])} {what}"
        for split, what in (("heldout", "held-out samples"), ("ood", "samples from another distribution"))
        if summary.data.get(split)
    ]
    if tested:
        yield f"It was tested on {' and '.join(tested)}."


def _told(data: Mapping[str, float], rewards: list[str]) -> dict[str, str]:
    """What each stage did with how much data, as far as the run says."""
    told = {}
    if "cold_start" in data:
        told["cold_start"] = f"imitated {format_int(data['cold_start'])} worked examples"
    if "train" in data:
        ends = (("sft", "became examples"), ("rl", "were kept for GRPO"))
        kept = [f"{format_int(data[part])} {end}" for part, end in ends if part in data]
        told["rejection_sampling"] = f"answered {format_int(data['train'])} prompts" + (
            f": {', '.join(kept)}" if kept else ""
        )
    if prompts := data.get("rl", data.get("train")):
        told["grpo"] = f"practised on {format_int(prompts)} prompts"
        if rewards:
            told["grpo"] += f", rewarded for {', '.join(rewards)}"
    return told
