"""Trackers, as transformers brings them: TensorBoard, Weights & Biases, trackio. Offline unless they are told."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path

from transformers import TrainerCallback
from transformers.integrations import TensorBoardCallback, TrackioCallback, WandbCallback

from reasoner_rm.errors import InputError


def check_trackers(names: Sequence[str]) -> None:
    """Whether they are installed.

    Raises:
        InputError: one is not.
    """
    for name in names:
        if importlib.util.find_spec(name) is None:
            raise InputError(f"run.report_to names {name}, which is not installed", remedy=f"pip install {name}")


def trackers(names: Sequence[str], folder: Path) -> list[TrainerCallback]:
    """A callback each, which writes into ``folder``; to a server only where the environment says so (`WANDB_MODE`,
    `TRACKIO_SPACE_ID`)."""
    check_trackers(names)
    os.environ.setdefault("WANDB_MODE", "offline")
    os.environ.setdefault("WANDB_DIR", str(folder))
    os.environ.setdefault("TRACKIO_DIR", str(folder / "trackio"))
    if names:
        folder.mkdir(parents=True, exist_ok=True)
    made: list[TrainerCallback] = []
    for name in names:
        if name == "tensorboard":
            board = TensorBoardCallback()
            board.logging_dir = str(folder / "tensorboard")
            made.append(board)
        else:
            made.append({"wandb": WandbCallback, "trackio": TrackioCallback}[name]())
    return made
