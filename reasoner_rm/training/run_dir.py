"""A run directory: everything a run leaves behind, each file whole under its name or not there."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from reasoner_rm.errors import InputError
from reasoner_rm.utils.files import atomic_write

Stage = Literal["cold_start", "rejection_sampling", "grpo"]
CONFIG = "config.resolved.yaml"
SFT_FILE, RL_FILE = "sft.jsonl", "rl.jsonl"
"""The rows that rejection sampling leaves to SFT and to GRPO."""
STAGES: tuple[Stage, ...] = ("cold_start", "rejection_sampling", "grpo")
PACKAGES = ("torch", "torchvision", "transformers", "accelerate", "tokenizers", "safetensors", "numpy", "reasoner-rm")


class RunDir:
    """Paths and writers of one run."""

    def __init__(self, path: Path):
        self.path = path

    @classmethod
    def create(cls, path: Path, config_yaml: str) -> RunDir:
        """A new run directory.

        Raises:
            InputError: the directory exists already.
        """
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise InputError("this run directory exists already", file=path, remedy="name another, or remove it first")
        return cls._with_records(path, config_yaml)

    @classmethod
    def join(cls, path: Path, stage: Stage, config_yaml: str, resume: bool = False) -> RunDir:
        """A run directory for one stage, new or holding earlier stages.

        Args:
            resume: the stage may have begun, or ended, here.

        Raises:
            InputError: the stage was run there already, or the folder is no run directory.
        """
        run = cls(path)
        if run.checkpoint(stage).exists() and not resume:
            raise InputError(
                f"stage {stage} was run here already", file=path, remedy="set run.out to another directory"
            )
        if run.states(stage).exists() and not resume:
            raise InputError(
                f"stage {stage} was begun here already",
                file=path,
                remedy="go on with --resume, or set run.out to another directory",
            )
        if path.is_dir() and any(path.iterdir()) and not (path / CONFIG).is_file():
            raise InputError("not a run directory", file=path, remedy="set run.out to a new or empty directory")
        return cls._with_records(path, config_yaml)

    @classmethod
    def _with_records(cls, path: Path, config_yaml: str) -> RunDir:
        run = cls(path)
        path.mkdir(parents=True, exist_ok=True)
        with atomic_write(path / CONFIG) as file:
            file.write(config_yaml)
        run.write_json("versions.json", versions())
        return run

    def checkpoint(self, stage: Stage) -> Path:
        """What a stage that has ended leaves to the next."""
        return self.path / "checkpoints" / stage

    def states(self, stage: Stage) -> Path:
        """Where a stage under way keeps what it can be resumed from."""
        return self.path / "checkpoints" / f"{stage}.steps"

    def latest(self) -> Path | None:
        """The checkpoint of the last stage that was run."""
        return next((self.checkpoint(s) for s in reversed(STAGES) if self.checkpoint(s).is_dir()), None)

    def write_json(self, name: str, value: Mapping[str, Any]) -> None:
        with atomic_write(self.path / name) as file:
            json.dump(value, file, indent=1, ensure_ascii=False)

    def read_json(self, name: str) -> dict[str, Any]:
        file = self.path / name
        return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}

    def log(self, stage: str, step: int, values: Mapping[str, Any]) -> None:
        """Append a line to `metrics.jsonl`."""
        self._append("metrics.jsonl", {"stage": stage, "step": step, **values})

    def rollout(self, record: Mapping[str, Any]) -> None:
        """Append a group to `rollouts.jsonl`."""
        self._append("rollouts.jsonl", record)

    def truncate(self, stage: str, step: int) -> None:
        """Forget what a stage wrote down after a step, and a line that was cut off: it will be written again.

        Args:
            step: how many steps were finished; a rollout of that number belongs to the one after them.
        """
        for name, after in (("metrics.jsonl", step + 1), ("rollouts.jsonl", step)):
            file = self.path / name
            if not file.is_file():
                continue
            with file.open(encoding="utf-8", errors="replace") as lines, atomic_write(file) as out:
                out.writelines(line for line in lines if _stays(line, stage, after))

    def _append(self, name: str, record: Mapping[str, Any]) -> None:
        with (self.path / name).open("a", encoding="utf-8") as file:
            file.write(json.dumps(record, ensure_ascii=False) + "\n")


def _stays(line: str, stage: str, after: int) -> bool:
    try:
        row = json.loads(line)
        return line.endswith("\n") and (row["stage"] != stage or row["step"] < after)
    except (ValueError, KeyError, TypeError):
        return False


def versions() -> dict[str, str]:
    """What this run ran on."""
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found
