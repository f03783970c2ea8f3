"""Temperature scaling of a judge: fitted on half of its held-out pairs, measured on the other half."""

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
from reasoner_rm.utils.files import atomic_path, atomic_write
from reasoner_rm.utils.locks import folder_lock
from reasoner_rm.utils.parse_files import read_json
from reasoner_rm.utils.seeding import stable_seed

MIN_PAIRS = 20
"""The fewest pairs in either half."""


@dataclass(frozen=True, slots=True)
class CalibrationFit:
    """A fitted temperature; ``before`` and ``after`` are measured on pairs that it was not fitted on."""

    temperature: float
    fitted_on: int
    before: Calibration
    after: Calibration

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def calibrate(judge: Judge, samples: Sequence[Sample]) -> CalibrationFit:
    """Fit the temperature of a judge's verdict probabilities.

    Raises:
        InputError: samples that are not comparisons, or too few with a label that is not a tie.
    """
    pairs = labelled_pairs(samples)
    return fit_calibration(pairs, verdict_probabilities(judge, [sample for sample, _ in pairs]))


def labelled_pairs(samples: Sequence[Sample]) -> list[tuple[Sample, float]]:
    """Comparisons with the share of raters that preferred the first candidate; ties are left out.

    Raises:
        InputError: a sample of another task.
    """
    if any(s.task not in PAIRWISE_TASKS for s in samples):
        raise InputError("only comparisons can be calibrated", remedy=f"give samples of {', '.join(PAIRWISE_TASKS)}")
    return [(s, g) for s in samples if (g := gold_of(s)) is not None and g != 0.5]


def fit_calibration(pairs: Sequence[tuple[Sample, float]], rows: Sequence[Sequence[float]]) -> CalibrationFit:
    """Fit the temperature on one half of the pairs and measure the calibration on the other.

    The halves are drawn by source prompt, so that no prompt is in both. The label is the raters' majority: a
    temperature fitted to their shares would lower the confidence where raters differ but the majority is clear.

    Args:
        rows: for each pair the probabilities of its first candidate, one per order; empty if unreadable.

    Raises:
        InputError: fewer than `MIN_PAIRS` in a half.
    """
    halves: tuple[list[Any], list[Any]] = ([], [])
    for (sample, gold), row in zip(pairs, rows, strict=True):
        if row:
            halves[stable_seed("calibration", sample.group_id) % 2].append((row, float(gold > 0.5)))
    fitted, measured = halves
    if min(len(fitted), len(measured)) < MIN_PAIRS:
        problem = f"{len(fitted)} and {len(measured)} readable pairs in the two halves"
        raise InputError(problem, remedy=f"give at least {MIN_PAIRS} for each")
    temperature = round(fit_temperature([r for r, _ in fitted], [g for _, g in fitted]), 4)
    return CalibrationFit(temperature, len(fitted), _calibration(measured, 1.0), _calibration(measured, temperature))


def save_temperature(fit: CalibrationFit, folder: Path) -> None:
    """Write the temperature into `reasoner_rm.json`, and `calibration.json` and `calibration.png` next to it.

    Args:
        folder: the judge's, with its `reasoner_rm.json`.
    """
    with folder_lock(folder):
        row = read_json(folder / FILE, remedy="save the judge again")
        for name, value in ((FILE, {**row, "temperature": fit.temperature}), ("calibration.json", fit.as_json())):
            with atomic_write(folder / name) as file:
                json.dump(value, file, indent=1, ensure_ascii=False)
        plot(fit, folder / "calibration.png")


def plot(fit: CalibrationFit, file: Path) -> None:
    """The reliability diagram before and after, as PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.6, 4.2), layout="constrained")
    draw(fit, figure.subplots(), f"T = {fit.temperature:.2f}")
    with atomic_path(file) as beside:
        figure.savefig(beside, dpi=110)


def draw(fit: CalibrationFit, axes: Any, title: str) -> None:
    """The reliability diagram on matplotlib axes; the area of a point grows with its number of pairs."""
    axes.plot([0.5, 1], [0.5, 1], color="0.7", linewidth=1)
    for name, result, colour in (("before", fit.before, "#b3372f"), ("after", fit.after, "#1d8a5b")):
        x, y = [b.confidence for b in result.bins], [b.accuracy for b in result.bins]
        axes.plot(x, y, color=colour, linewidth=1.2, label=f"{name}: ECE {result.ece:.3f}")
        axes.scatter(x, y, [12 + 160 * b.n / result.n for b in result.bins], color=colour, alpha=0.75)
    axes.set(xlabel="confidence", ylabel="accuracy", ylim=(0, 1.02), title=title)
    axes.legend(frameon=False, loc="lower right")


def _calibration(rows: Sequence[tuple[Sequence[float], float]], temperature: float) -> Calibration:
    p = [p_first(row, temperature) for row, _ in rows]
    result = calibration([(q, 1 - q) for q in p], [int(first == 0.0) for _, first in rows])
    assert result is not None
    return result
