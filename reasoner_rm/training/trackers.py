"""Trackers of transformers: TensorBoard, Weights & Biases, trackio. They are offline unless they are configured."""

from __future__ import annotations

import contextlib
import importlib.util
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.integrations import TensorBoardCallback, TrackioCallback, WandbCallback

from reasoner_rm import distributed
from reasoner_rm.errors import InputError


def check_trackers(names: Sequence[str]) -> None:
    """Check that they are installed.

    Raises:
        InputError: one is not.
    """
    for name in names:
        if importlib.util.find_spec(name) is None:
            raise InputError(f"run.report_to names {name}, which is not installed", remedy=f"pip install {name}")


class Trackers:
    """The trackers of one training, which write into a folder; to a server only where the environment says so
    (`WANDB_MODE`, `TRACKIO_SPACE_ID`).

    Raises:
        InputError: one is not installed.
    """

    def __init__(self, names: Sequence[str], folder: Path, args: TrainingArguments):
        check_trackers(names)
        self._args, self._control = args, TrainerControl()
        self._state = TrainerState(is_world_process_zero=distributed.is_main(), max_steps=args.max_steps)
        if names:
            os.environ.setdefault("WANDB_MODE", "offline")
            os.environ.setdefault("WANDB_DIR", str(folder))
            os.environ.setdefault("TRACKIO_DIR", str(folder / "trackio"))
            folder.mkdir(parents=True, exist_ok=True)
        self._callbacks = [_callback(name, folder) for name in names]

    @contextlib.contextmanager
    def open(self, model: Any) -> Iterator[None]:
        """Inside, they take metrics."""
        for callback in self._callbacks:
            callback.on_train_begin(self._args, self._state, self._control, model=model)
        try:
            yield
        finally:
            for callback in self._callbacks:
                callback.on_train_end(self._args, self._state, self._control, model=model)

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Hand on the metrics of a step."""
        self._state.global_step = step
        for callback in self._callbacks:
            callback.on_log(self._args, self._state, self._control, logs=dict(metrics))


def _callback(name: str, folder: Path) -> TrainerCallback:
    if name == "tensorboard":
        board = TensorBoardCallback()
        board.logging_dir = str(folder / "tensorboard")
        return board
    return {"wandb": WandbCallback, "trackio": TrackioCallback}[name]()
