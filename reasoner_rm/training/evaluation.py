"""Evaluation during training: metrics of held-out samples on a schedule, the best weights kept, early stopping."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from reasoner_rm import distributed
from reasoner_rm.config import TrainSection
from reasoner_rm.errors import InputError
from reasoner_rm.utils.files import atomic_path

BEST = "best.safetensors"
EvalFn = Callable[[], Mapping[str, float]]
"""Computes the metrics of held-out samples, by name. Collective: all processes call it, and get the same values."""


class BestCheckpoint:
    """The best value of a metric so far, and a file with the weights that reached it.

    Args:
        metric: its name; None keeps nothing.
        patience: how many evaluations may pass without a better value.
    """

    def __init__(self, metric: str | None, patience: int | None, file: Path | None):
        self.metric, self.patience, self.file = metric, patience, file
        self.value: float | None = None
        self.waited = 0

    def update(self, metrics: Mapping[str, float], weights: Callable[[], dict[str, torch.Tensor]]) -> bool:
        """Compare with the metrics of an evaluation, the same in every process. True once patience is exhausted.

        Raises:
            InputError: the metric is not among them.
        """
        if self.metric is None:
            return False
        if self.metric not in metrics:
            raise InputError(
                f"nothing was measured as {self.metric!r}",
                remedy=f"choose metric_for_best_model from {', '.join(metrics) or 'the metrics of the task'}",
            )
        if self.value is None or metrics[self.metric] > self.value:
            self.value, self.waited = metrics[self.metric], 0
            best = weights()
            if distributed.is_main() and self.file is not None:
                with atomic_path(self.file) as beside:
                    save_file(best, beside)
            return False
        self.waited += 1
        return self.patience is not None and self.waited >= self.patience

    def weights(self) -> dict[str, torch.Tensor] | None:
        """The best weights, by name; None where none were kept."""
        return load_file(self.file) if self.value is not None and self.file is not None else None

    def remove(self) -> None:
        """Delete the file: the stage is over, and has ended with these weights."""
        if self.file is not None:
            self.file.unlink(missing_ok=True)

    def save(self, folder: Path) -> None:
        """Copy the file into a state, which a training is resumed from with the best weights of that time."""
        if self.value is not None and self.file is not None:
            shutil.copyfile(self.file, folder / BEST)

    def load(self, folder: Path) -> None:
        """Take the file back from a state.

        Raises:
            InputError: the state has none.
        """
        if self.value is not None and self.file is not None:
            if not (folder / BEST).is_file():
                remedy = "resume with that version, or begin a new run"
                raise InputError(f"of another version of reasoner-rm: it lacks {BEST}", file=folder, remedy=remedy)
            with atomic_path(self.file) as beside:
                shutil.copyfile(folder / BEST, beside)

    def state_dict(self) -> dict[str, Any]:
        return {"value": self.value, "waited": self.waited}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        self.value, self.waited = state_dict["value"], state_dict["waited"]


def is_eval_due(step: int, every: int, updates: int) -> bool:
    """Whether a multiple of ``every`` was reached since the last rollout batch, each of which is trained on for
    ``updates`` steps. Evaluation waits for the end of a batch.

    >>> [step for step in range(1, 13) if is_eval_due(step, 4, 3)]
    [6, 9, 12]
    """
    return step % updates == 0 and step // every > (step - updates) // every


def check_schedule(section: TrainSection, held_out: bool) -> None:
    """Check what a section says of evaluation.

    Raises:
        InputError: it cannot be done.
    """
    if section.eval_steps is None and (section.metric_for_best_model or section.early_stopping_patience):
        raise InputError("the best weights are found by evaluation during training", remedy="set eval_steps as well")
    if section.early_stopping_patience and not section.metric_for_best_model:
        raise InputError("early_stopping_patience waits for a better metric", remedy="set metric_for_best_model")
    if section.eval_steps is not None and not held_out:
        raise InputError("eval_steps needs samples to measure on", remedy="name a JSONL file as data.heldout")
