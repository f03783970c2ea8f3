"""A run directory: everything a run leaves behind, each file whole under its name or not there."""

from __future__ import annotations

import io
import json
import platform
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from reasoner_rm.errors import InputError
from reasoner_rm.log import warn_once
from reasoner_rm.training.checkpoints import RESUME
from reasoner_rm.utils.files import append_line, atomic_path, atomic_write, drop_half_line, storage_errors
from reasoner_rm.utils.locks import LOCK
from reasoner_rm.utils.parse_files import parse_object, read_json

Stage = Literal["cold_start", "rejection_sampling", "grpo"]
CONFIG, SUMMARY, CHECKPOINTS = "config.resolved.yaml", "summary.json", "checkpoints"
SUMMARY_OBJECTS = ("stages", "partial", "blind", "data", "stage_seconds")
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
        if path.exists() and (not path.is_dir() or any(_content(path))):
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
        if path.is_dir() and any(_content(path)) and not ((path / CONFIG).is_file() or (path / CHECKPOINTS).is_dir()):
            raise InputError("not a run directory", file=path, remedy="set run.out to a new or empty directory")
        return cls._with_records(path, config_yaml)

    @classmethod
    def _with_records(cls, path: Path, config_yaml: str) -> RunDir:
        run = cls(path)
        run.summary()  # a damaged one is found now, not after the training
        with atomic_write(path / CONFIG) as file:
            file.write(config_yaml)
        run.write_json("versions.json", versions())
        return run

    def checkpoint(self, stage: Stage) -> Path:
        """What a stage that has ended leaves to the next."""
        return self.path / CHECKPOINTS / stage

    def states(self, stage: Stage) -> Path:
        """Where a stage under way keeps what it can be resumed from."""
        return self.path / CHECKPOINTS / f"{stage}.steps"

    def latest(self) -> Path | None:
        """The checkpoint of the last stage that was run."""
        return next((self.checkpoint(s) for s in reversed(STAGES) if self.checkpoint(s).is_dir()), None)

    def write_json(self, name: str, value: Mapping[str, Any]) -> None:
        with atomic_write(self.path / name) as file:
            json.dump(value, file, indent=1, ensure_ascii=False)

    def summary(self) -> dict[str, Any]:
        """What `summary.json` holds.

        Raises:
            InputError: it is damaged.
        """
        file, remedy = self.path / SUMMARY, "repair it, or remove it and evaluate again: reasoner-rm eval CONFIG.yaml"
        summary = read_json(file, remedy) if file.is_file() else {}
        for name in SUMMARY_OBJECTS:
            if not isinstance(summary.get(name, {}), dict):
                raise InputError(f"{name} is {type(summary[name]).__name__}, no object", file=file, remedy=remedy)
        return summary

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
            damaged: dict[int, str] = {}
            with file.open("rb") as lines, atomic_path(file) as beside, beside.open("wb") as out:
                for number, line in enumerate(lines, start=1):
                    if not line.endswith(b"\n"):
                        break
                    try:
                        if _is_before(parse_object(line), stage, after):
                            out.write(line)
                    except (ValueError, TypeError) as error:
                        damaged[number] = str(error)
            if damaged:
                number, reason = next(iter(damaged.items()))
                more = f"; {len(damaged) - 1} lines more" if len(damaged) > 1 else ""
                warn_once(f"{file}:{number}: {reason}{more}; left out")

    def _append(self, name: str, record: Mapping[str, Any]) -> None:
        file = self.path / name
        line = json.dumps(record, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
        with storage_errors(file, remedy=RESUME), io.FileIO(file, "a+") as out:
            if drop_half_line(out):
                warn_once(f"{file}: the last line was cut off, and is left out")
            append_line(out, line)


def _is_before(row: Mapping[str, Any], stage: str, step: int) -> bool:
    """Whether a line is of another stage, or of a step before this one.

    Raises:
        ValueError, TypeError: it has neither stage nor step.
    """
    if "stage" not in row or "step" not in row:
        raise ValueError("it has no stage and step")
    return bool(row["stage"] != stage or row["step"] < step)


def _content(path: Path) -> Iterator[Path]:
    """What is in a directory, but the lock of the process that asks."""
    return (part for part in path.iterdir() if part.name != LOCK)


def versions() -> dict[str, str]:
    """What this run ran on."""
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found
