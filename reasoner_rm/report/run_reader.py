"""Reading a run directory into plain records."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from reasoner_rm.errors import InputError
from reasoner_rm.report.evaluations import Answer, Evaluated
from reasoner_rm.report.lenient_json import Row, mapping, number, read_object, read_rows, read_text
from reasoner_rm.report.rollouts import Rollout, section_ranges
from reasoner_rm.report.summary import Summary

RUN_FILES = ("summary.json", "metrics.jsonl", "rollouts.jsonl", "evaluations", "config.resolved.yaml")
"""A directory with any of these is a run directory."""


@dataclass(frozen=True, slots=True)
class Series:
    """One metric over the steps of one stage; a value may be NaN."""

    steps: tuple[float, ...]
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class JudgeInfo:
    """The part of `final/reasoner_rm.json` that the page shows: task, and name, text and hash of the template."""

    task: str
    template: str
    text: str
    hash: str


@dataclass(frozen=True, slots=True)
class Run:
    """The contents of a run directory. ``sections`` are rollouts from the start, the middle and the end; ``groups`` is
    the number of recorded groups; ``notes`` name what is missing or cannot be read."""

    path: Path
    summary: Summary | None
    metrics: Mapping[str, Mapping[str, Series]]
    sections: tuple[tuple[Rollout, ...], ...]
    groups: int
    evaluations: tuple[Evaluated, ...]
    config: str
    versions: Mapping[str, str]
    judge: JudgeInfo | None
    has_judge: bool
    notes: tuple[str, ...]


def read_run(path: Path, *, groups: int) -> Run:
    """Read a run directory, with at most ``groups`` groups of rollouts.

    Raises:
        InputError: it contains none of `RUN_FILES`.
    """
    if not any((path / part).exists() for part in RUN_FILES):
        raise InputError("not a run directory", file=path, remedy=f"give a directory with {', '.join(RUN_FILES[:3])}")
    notes: list[str] = []
    summary = read_object(path / "summary.json", Summary.from_row, notes)
    if summary is None:
        notes.append("There is no readable summary.json: the run is still in progress, or it ended early.")
    metrics = _metrics(path / "metrics.jsonl", notes)
    total, sections = _rollouts(path, groups, notes)
    evaluations = _evaluations(path, notes)
    return Run(
        path=path,
        summary=summary,
        metrics=metrics,
        sections=sections,
        groups=total,
        evaluations=evaluations,
        config=read_text(path / "config.resolved.yaml"),
        versions=read_object(path / "versions.json", lambda row: {k: str(v) for k, v in row.items()}, notes) or {},
        judge=read_object(path / "final" / "reasoner_rm.json", _judge_info, notes),
        has_judge=(path / "final").is_dir(),
        notes=tuple(notes),
    )


def _metrics(file: Path, notes: list[str]) -> dict[str, dict[str, Series]]:
    """The series by stage and metric. After a resume a step may occur twice: the later line counts."""
    if not file.is_file():
        notes.append("There is no metrics.jsonl, so there are no curves.")
        return {}
    values: dict[str, dict[str, dict[float, float]]] = {}
    non_finite: list[str] = []
    for index, row in read_rows(file, dict, notes).items():
        stage, step = str(row.pop("stage", "")), number(row.pop("step", None))
        for name, value in row.items():
            if isinstance(value, (int, float)):
                x = float(index) if step is None else step
                values.setdefault(stage, {}).setdefault(name, {})[x] = float(value)
                if not math.isfinite(value):
                    non_finite.append(f"{name} of {stage} at step {x:g}")
    if non_finite:
        notes.append(f"metrics.jsonl: {len(non_finite)} values are not finite (first: {non_finite[0]}).")
    return {
        stage: {name: Series(*zip(*sorted(points.items()), strict=True)) for name, points in series.items()}
        for stage, series in values.items()
    }


def _rollouts(run: Path, limit: int, notes: list[str]) -> tuple[int, tuple[tuple[Rollout, ...], ...]]:
    file = run / "rollouts.jsonl"
    if not file.is_file():
        notes.append("There is no rollouts.jsonl, so no completions are shown.")
        return 0, ()
    with file.open("rb") as lines:
        total = sum(1 for _ in lines)
    ranges = section_ranges(total, limit)
    keep = {index for section in ranges for index in section}
    rollouts = read_rows(file, lambda row: Rollout.from_row(row, run), notes, keep)
    return total, tuple(tuple(rollouts[i] for i in section if i in rollouts) for section in ranges)


def _evaluations(run: Path, notes: list[str]) -> tuple[Evaluated, ...]:
    files = sorted((run / "evaluations").glob("*.jsonl"))
    if not files:
        notes.append("There are no evaluations/*.jsonl, so no evaluated items are shown.")
    answers = {file.stem: read_rows(file, lambda row: Answer.from_row(row, run), notes) for file in files}
    return tuple(Evaluated.named(stem, tuple(rows.values())) for stem, rows in answers.items() if rows)


def _judge_info(row: Row) -> JudgeInfo:
    template = mapping(row, "template")
    name, text, hash_ = (str(template.get(key) or "") for key in ("name", "text", "hash"))
    return JudgeInfo(str(row.get("task") or ""), name, text, hash_)
