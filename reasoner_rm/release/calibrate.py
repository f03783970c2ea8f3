"""Fitting a judge's temperature on half of its held-out pairs and showing on the other half what that is worth."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from reasoner_rm.errors import InputError
from reasoner_rm.evaluation.calibration import Calibration, calibration
from reasoner_rm.judge import Judge
from reasoner_rm.judge.temperature_scaling import fit_temperature, gold_of, p_first, verdict_probabilities
from reasoner_rm.models.judge_checkpoint import FILE
from reasoner_rm.schema import PAIRWISE_TASKS, Sample
from reasoner_rm.utils.files import atomic_write
from reasoner_rm.utils.seeding import stable_seed

LEAST = 20
"""Fewer pairs on either half say nothing."""


@dataclass(frozen=True, slots=True)
class Calibrated:
    """``before`` and ``after`` are measured on pairs that the temperature was not fitted on."""

    temperature: float
    fitted_on: int
    before: Calibration
    after: Calibration

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def calibrate(judge: Judge, samples: Sequence[Sample]) -> Calibrated:
    """Calibrate a judge's verdict tokens.

    Raises:
        InputError: no preferences, or too few with a label that is no tie.
    """
    known = labelled(samples)
    return calibrated(known, verdict_probabilities(judge, [sample for sample, _ in known]))


def labelled(samples: Sequence[Sample]) -> list[tuple[Sample, float]]:
    """Comparisons with how often raters preferred the first candidate; ties are left out.

    Raises:
        InputError: other tasks among them.
    """
    if any(s.task not in PAIRWISE_TASKS for s in samples):
        raise InputError("only comparisons can be calibrated", remedy=f"give samples of {', '.join(PAIRWISE_TASKS)}")
    return [(s, g) for s in samples if (g := gold_of(s)) is not None and g != 0.5]


def calibrated(known: Sequence[tuple[Sample, float]], rows: Sequence[Sequence[float]]) -> Calibrated:
    """Halves are drawn by source prompt, so that no prompt is in both. Right is what most raters said, in fitting as in
    measuring: where raters differ, a temperature fitted to their shares would make a judge doubt what it knows.

    Args:
        rows: for each sample the probabilities of its first candidate, by order; empty where there are none.

    Raises:
        InputError: too few.
    """
    halves: tuple[list[Any], list[Any]] = ([], [])
    for (sample, gold), row in zip(known, rows, strict=True):
        if row:
            halves[stable_seed("calibration", sample.group_id) % 2].append((row, float(gold > 0.5)))
    fitted, measured = halves
    if min(len(fitted), len(measured)) < LEAST:
        what = f"{len(fitted)} and {len(measured)} readable pairs in two halves"
        raise InputError(what, remedy=f"give at least {LEAST} for each")
    temperature = round(fit_temperature([r for r, _ in fitted], [g for _, g in fitted]), 4)
    return Calibrated(temperature, len(fitted), _measured(measured, 1.0), _measured(measured, temperature))


def save_temperature(found: Calibrated, folder: Path) -> None:
    """Write the temperature into a judge's card, and the figures and the plot beside it.

    Args:
        folder: the judge's, with its `reasoner_rm.json`.
    """
    row = json.loads((folder / FILE).read_text(encoding="utf-8"))
    for name, value in ((FILE, {**row, "temperature": found.temperature}), ("calibration.json", found.as_json())):
        with atomic_write(folder / name) as file:
            json.dump(value, file, indent=1, ensure_ascii=False)
    plot(found, folder / "calibration.png")


def plot(found: Calibrated, file: Path) -> None:
    """The reliability diagram before and after, as PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.6, 4.2), layout="constrained")
    draw(found, figure.subplots(), f"T = {found.temperature:.2f}")
    figure.savefig(file, dpi=110)


def draw(found: Calibrated, axes: Any, title: str) -> None:
    """The reliability diagram on axes of matplotlib; the larger a point, the more pairs it stands for."""
    axes.plot([0.5, 1], [0.5, 1], color="0.7", linewidth=1)
    for name, figures, colour in (("before", found.before, "#b3372f"), ("after", found.after, "#1d8a5b")):
        x, y = [b.confidence for b in figures.bins], [b.accuracy for b in figures.bins]
        axes.plot(x, y, color=colour, linewidth=1.2, label=f"{name}: ECE {figures.ece:.3f}")
        axes.scatter(x, y, [12 + 160 * b.n / figures.n for b in figures.bins], color=colour, alpha=0.75)
    axes.set(xlabel="confidence", ylabel="share that is right", ylim=(0, 1.02), title=title)
    axes.legend(frameon=False, loc="lower right")


def _measured(rows: Sequence[tuple[Sequence[float], float]], temperature: float) -> Calibration:
    p = [p_first(row, temperature) for row, _ in rows]
    found = calibration([(q, 1 - q) for q in p], [int(first == 0.0) for _, first in rows])
    assert found is not None
    return found
