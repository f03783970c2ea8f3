"""What a run says about itself, as far as its model card repeats it. Paths of the machine stay out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from reasoner_rm.data.dataset_card import entry_of
from reasoner_rm.errors import InputError
from reasoner_rm.evaluation.result_dir import ResultDir
from reasoner_rm.models.judge_checkpoint import JudgeConfig, load_card
from reasoner_rm.models.loading import BUILTIN, resolve_model

FILES = ("cold_start", "train", "heldout", "ood")


@dataclass(frozen=True, slots=True)
class Record:
    """``data`` are the dataset cards' entries by use; ``figures`` the evaluations by stage and split;
    ``benchmarks`` what the run's judge reached on published ones."""

    run: Path
    config: Mapping[str, Any]
    summary: Mapping[str, Any]
    versions: Mapping[str, str]
    data: Mapping[str, Mapping[str, Any]]
    card: JudgeConfig
    benchmarks: tuple[Mapping[str, Any], ...] = ()

    @property
    def base(self) -> str:
        return public(str(self.config["model"]["path"]))

    @property
    def listener(self) -> str | None:
        path = self.config["listener"]["path"]
        return None if path is None else public(str(path))

    @property
    def figures(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.summary.get("stages", {})
        return found

    def file(self, name: str) -> Path | None:
        """A data file of the run, if it is still there."""
        path = self.config["data"].get(name)
        return Path(path) if path and Path(path).is_file() else None


def read_record(run: Path, results: Sequence[Path] = ()) -> Record:
    """Read a run directory.

    Args:
        results: what `eval` wrote about its judge on benchmarks.

    Raises:
        InputError: it lacks its configuration or its summary; results of another judge.
    """
    try:
        config = yaml.safe_load((run / "config.resolved.yaml").read_text(encoding="utf-8"))
        summary = _json(run / "summary.json")
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise InputError(f"not a whole run ({error})", file=run, remedy="give a folder that a run wrote") from None
    versions = _json(run / "versions.json") if (run / "versions.json").is_file() else {}
    world = summary.get("world")  # a pocket run draws its own data
    drawn = {"title": f"drawn by reasoner-rm, the world of {world}", "licence": "apache-2.0"} if world else {}
    data = {}
    for name in FILES:
        path = config["data"].get(name)
        if path:
            data[name] = dict(entry_of(Path(path)) or drawn)
    benchmarks = tuple(_scores(run, folder) for folder in results)
    return Record(run, config, summary, versions, data, load_card(run / "final"), benchmarks)


def _scores(run: Path, folder: Path) -> dict[str, Any]:
    """What the run's own judge reached on a benchmark."""
    scores = ResultDir(folder).scores()
    model = str(scores.get("judge", {}).get("model", ""))
    if Path(resolve_model(model)).resolve() != (run / "final").resolve():
        what = f"these are results of {model or 'an unnamed judge'}, not of the run's"
        raise InputError(what, file=folder, remedy=f"evaluate with --model {run}")
    return scores


def public(path_or_id: str) -> str:
    """A hub id or a builtin's name as it is; of a path, the last part."""
    if path_or_id.startswith(BUILTIN) or not (Path(path_or_id).is_absolute() or Path(path_or_id).exists()):
        return path_or_id
    return Path(path_or_id).name


def is_hub_id(name: str) -> bool:
    return name.count("/") == 1 and not name.startswith((".", BUILTIN))


def _json(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found
