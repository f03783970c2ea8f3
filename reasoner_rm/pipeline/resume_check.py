"""A stage is resumed with the settings that it began with, or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

from reasoner_rm.config import Config
from reasoner_rm.errors import InputError
from reasoner_rm.training.run_dir import CONFIG, RunDir, Stage

SECTIONS: dict[Stage, str] = {"cold_start": "sft", "rejection_sampling": "rejection_sampling", "grpo": "grpo"}
SHARED = ("task", "template", "model", "data", "run.seed")
CHANGEABLE = ("save_steps", "save_total_limit", "log_rollouts_every", "workers", "heldout", "ood")
"""What neither a completion nor a gradient depends on. Engine and listener are free, too: servers move."""
SHOWN = 4


def check_unchanged(run: RunDir, stage: Stage, config: Config) -> None:
    """Whether a stage under way in a run began with these settings.

    Raises:
        InputError: it did not; the settings that differ, with what they were.
    """
    file = run.path / CONFIG
    if not run.states(stage).exists() or not file.is_file():
        return
    before, now = (dict(_decisive(text, stage)) for text in (file.read_text(encoding="utf-8"), config.yaml()))
    changed = [name for name in now if name in before and before[name] != now[name]]
    if changed:
        told = [f"{name} was {before[name]} and is {now[name]}" for name in changed[:SHOWN]]
        more = f", and {len(changed) - SHOWN} more" if len(changed) > SHOWN else ""
        raise InputError(
            f"stage {stage} began with other settings: {', '.join(told)}{more}",
            file=file,
            remedy="resume with those, or set run.out to another directory",
        )


def _decisive(text: str, stage: Stage) -> Iterator[tuple[str, Any]]:
    parts = (*SHARED, SECTIONS[stage])
    for name, value in _flat(yaml.safe_load(text)):
        if (
            any(name == part or name.startswith(f"{part}.") for part in parts)
            and name.rpartition(".")[2] not in CHANGEABLE
        ):
            yield name, value


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for key, inside in value.items():
            yield from _flat(inside, f"{name}.{key}" if name else str(key))
    else:
        yield name, value
