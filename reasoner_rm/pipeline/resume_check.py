"""The check that a stage is resumed with the settings that it was started with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from reasoner_rm.config import Config
from reasoner_rm.errors import InputError
from reasoner_rm.training.run_dir import CONFIG, RunDir, Stage
from reasoner_rm.utils.parse_files import read_yaml

SECTIONS: dict[Stage, str] = {"cold_start": "sft", "rejection_sampling": "rejection_sampling", "grpo": "grpo"}
SHARED = ("task", "template", "model", "data", "run.seed")
CHANGEABLE = ("save_steps", "save_total_limit", "log_rollouts_every", "workers", "heldout", "ood")
"""Settings that affect neither completions nor gradients. `engine` and `listener` may change too: servers move."""
MAX_LISTED = 4


def check_unchanged(run: RunDir, stage: Stage, config: Config) -> None:
    """Check that a stage with saved states was started with these settings.

    Raises:
        InputError: settings differ; the message lists them with both values.
    """
    file = run.path / CONFIG
    if not run.states(stage).exists() or not file.is_file():
        return
    remedy = "repair it, or remove it to resume with the settings given now"
    begun, given = read_yaml(file, remedy), yaml.safe_load(config.yaml())
    before, now = (dict(_fixed_settings(values, stage)) for values in (begun, given))
    changed = [name for name in now if name in before and before[name] != now[name]]
    if changed:
        differences = [f"{name} was {before[name]} and is {now[name]}" for name in changed[:MAX_LISTED]]
        more = f", and {len(changed) - MAX_LISTED} more" if len(changed) > MAX_LISTED else ""
        raise InputError(
            f"stage {stage} was started with other settings: {', '.join(differences)}{more}",
            file=file,
            remedy="resume with those, or set run.out to another directory",
        )


def _fixed_settings(values: Mapping[str, Any], stage: Stage) -> Iterator[tuple[str, Any]]:
    parts = (*SHARED, SECTIONS[stage])
    for name, value in _flat(values):
        if (
            any(name == part or name.startswith(f"{part}.") for part in parts)
            and name.rpartition(".")[2] not in CHANGEABLE
        ):
            yield name, value


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for key, child in value.items():
            yield from _flat(child, f"{name}.{key}" if name else str(key))
    else:
        yield name, value
