"""Measured on the way: held-out figures on a schedule, the best weights kept, an end when nothing improves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import TrainerCallback, TrainerControl

from reasoner_rm import distributed
from reasoner_rm.config import TrainSection
from reasoner_rm.errors import InputError

EvalFn = Callable[[], Mapping[str, float]]


class BestCheckpoint:
    """The best value of a figure so far, and a file with the weights that reached it.

    Args:
        metric: its name; None keeps nothing. ``patience``: how many measurements may pass without a better one.
    """

    def __init__(self, metric: str | None, patience: int | None, file: Path | None):
        self.metric, self.patience, self.file = metric, patience, file
        self.value: float | None = None
        self.waited = 0

    def heard(self, figures: Mapping[str, float], weights: Callable[[], dict[str, torch.Tensor]]) -> bool:
        """Take note of figures, the same in every process; whether patience is at its end.

        Raises:
            InputError: the figure is not among them.
        """
        if self.metric is None:
            return False
        if self.metric not in figures:
            raise InputError(
                f"nothing was measured as {self.metric!r}",
                remedy=f"choose metric_for_best_model from {', '.join(figures) or 'the figures of the task'}",
            )
        if self.value is None or figures[self.metric] > self.value:
            self.value, self.waited = figures[self.metric], 0
            held = weights()
            if distributed.is_main() and self.file is not None:
                beside = self.file.with_suffix(".writing")
                beside.parent.mkdir(parents=True, exist_ok=True)
                save_file(held, beside)
                beside.rename(self.file)
            return False
        self.waited += 1
        return self.patience is not None and self.waited >= self.patience

    def weights(self) -> dict[str, torch.Tensor] | None:
        """The best weights, by name; None where none were kept."""
        return load_file(self.file) if self.value is not None and self.file is not None else None

    def remove(self) -> None:
        """The stage is over, and has ended with them."""
        if self.file is not None:
            self.file.unlink(missing_ok=True)

    def state_dict(self) -> dict[str, Any]:
        """As JSON knows it."""
        return {"value": self.value, "waited": self.waited}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from a memory."""
        self.value, self.waited = state_dict["value"], state_dict["waited"]


class Measuring(TrainerCallback):
    """Measures at the end of each window that ``every`` steps were complete in, and after the last step."""

    def __init__(self, measure: Callable[[], bool], every: int, repeats: int):
        self.measure, self.every, self.repeats = measure, every, repeats

    def on_step_end(self, args: Any, state: Any, control: TrainerControl, **kwargs: Any) -> None:
        step = state.global_step
        due = step % self.repeats == 0 and step // self.every > (step - self.repeats) // self.every
        if (due or step >= state.max_steps) and self.measure():
            control.should_training_stop = True


def check_schedule(section: TrainSection, held_out: bool) -> None:
    """Whether what a section says of measuring can be done.

    Raises:
        InputError: it cannot.
    """
    if section.eval_steps is None and (section.metric_for_best_model or section.early_stopping_patience):
        raise InputError("the best weights are found by measuring on the way", remedy="set eval_steps as well")
    if section.early_stopping_patience and not section.metric_for_best_model:
        raise InputError("early_stopping_patience waits for a better figure", remedy="set metric_for_best_model")
    if section.eval_steps is not None and not held_out:
        raise InputError("eval_steps needs samples to measure on", remedy="name a JSONL file as data.heldout")
