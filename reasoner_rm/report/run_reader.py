"""A run directory as plain records."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from reasoner_rm.errors import InputError
from reasoner_rm.report.evaluations import Answer, Evaluated
from reasoner_rm.report.lenient_json import Row, mapping, number, record, records, text
from reasoner_rm.report.rollouts import Rollout, sections
from reasoner_rm.report.summary import Summary

PARTS = ("summary.json", "metrics.jsonl", "rollouts.jsonl", "evaluations", "config.resolved.yaml")
"""What makes a directory a run; any one of them is enough."""


@dataclass(frozen=True, slots=True)
class Series:
    """One metric over the steps of one stage; a value may be NaN."""

    steps: tuple[float, ...]
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Card:
    """What `final/reasoner_rm.json` says of the judge: its task, and the prompt that it was trained with."""

    task: str
    template: str
    text: str
    hash: str


@dataclass(frozen=True, slots=True)
class Run:
    """Everything a report shows. ``chapters`` are rollouts of the start, the middle and the end."""

    path: Path
    summary: Summary | None
    metrics: Mapping[str, Mapping[str, Series]]
    sections: tuple[tuple[Rollout, ...], ...]
    groups: int
    evaluations: tuple[Evaluated, ...]
    config: str
    versions: Mapping[str, str]
    card: Card | None
    has_judge: bool
    notes: tuple[str, ...]


def read_run(path: Path, *, groups: int) -> Run:
    """Read a run directory, with at most ``groups`` groups of rollouts.

    Raises:
        InputError: the directory holds nothing of a run.
    """
    if not any((path / part).exists() for part in PARTS):
        raise InputError("this is no run directory", file=path, remedy=f"it should hold {', '.join(PARTS[:3])}")
    notes: list[str] = []
    summary = record(path / "summary.json", Summary.from_row, notes)
    if summary is None:
        notes.append("There is no readable summary.json: the run is still going, or it ended early.")
    metrics = _metrics(path / "metrics.jsonl", notes)
    total, picked = _rollouts(path, groups, notes)
    evaluations = _evaluations(path, notes)
    return Run(
        path=path,
        summary=summary,
        metrics=metrics,
        sections=picked,
        groups=total,
        evaluations=evaluations,
        config=text(path / "config.resolved.yaml"),
        versions=record(path / "versions.json", lambda row: {k: str(v) for k, v in row.items()}, notes) or {},
        card=record(path / "final" / "reasoner_rm.json", _card, notes),
        has_judge=(path / "final").is_dir(),
        notes=tuple(notes),
    )


def _metrics(file: Path, notes: list[str]) -> dict[str, dict[str, Series]]:
    """Stage, name, series. After a resume a step may stand twice: the later line counts."""
    if not file.is_file():
        notes.append("There is no metrics.jsonl, so there are no curves.")
        return {}
    found: dict[str, dict[str, dict[float, float]]] = {}
    odd: list[str] = []
    for index, row in records(file, dict, notes).items():
        stage, step = str(row.pop("stage", "")), number(row.pop("step", None))
        for name, value in row.items():
            if isinstance(value, (int, float)):
                place = float(index) if step is None else step
                found.setdefault(stage, {}).setdefault(name, {})[place] = float(value)
                if not math.isfinite(value):
                    odd.append(f"{name} of {stage} at step {place:g}")
    if odd:
        notes.append(f"metrics.jsonl: {len(odd)} values are not finite (first: {odd[0]}).")
    return {
        stage: {name: Series(*zip(*sorted(points.items()), strict=True)) for name, points in series.items()}
        for stage, series in found.items()
    }


def _rollouts(run: Path, limit: int, notes: list[str]) -> tuple[int, tuple[tuple[Rollout, ...], ...]]:
    file = run / "rollouts.jsonl"
    if not file.is_file():
        notes.append("There is no rollouts.jsonl, so no completions are shown.")
        return 0, ()
    with file.open("rb") as lines:
        total = sum(1 for _ in lines)
    ranges = sections(total, limit)
    keep = {index for chapter in ranges for index in chapter}
    rollouts = records(file, lambda row: Rollout.from_row(row, run), notes, keep)
    return total, tuple(tuple(rollouts[i] for i in chapter if i in rollouts) for chapter in ranges)


def _evaluations(run: Path, notes: list[str]) -> tuple[Evaluated, ...]:
    files = sorted((run / "evaluations").glob("*.jsonl"))
    if not files:
        notes.append("There are no evaluations/*.jsonl, so no evaluated items are shown.")
    read = {file.stem: records(file, lambda row: Answer.from_row(row, run), notes) for file in files}
    return tuple(Evaluated.named(stem, tuple(rows.values())) for stem, rows in read.items() if rows)


def _card(row: Row) -> Card:
    template = mapping(row, "template")
    name, text, hash_ = (str(template.get(key) or "") for key in ("name", "text", "hash"))
    return Card(str(row.get("task") or ""), name, text, hash_)
