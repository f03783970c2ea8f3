"""A whole configuration: a section per stage, and what the stages share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import Field

from reasoner_rm.config.base import Count, Section
from reasoner_rm.config.engines import EngineSection, ListenerSection
from reasoner_rm.config.grpo import GrpoSection
from reasoner_rm.config.model import ModelSection
from reasoner_rm.config.training import RejectionSamplingSection, SftSection


class RunSection(Section):
    """Where the run goes and what seeds it."""

    out: Path = Path("runs/run")
    seed: int = 0
    deepspeed: Path | None = None
    """A DeepSpeed configuration (ZeRO), for processes that `torchrun` starts; `accelerate launch` brings its own."""
    report_to: tuple[Literal["tensorboard", "wandb", "trackio"], ...] = ()
    """Trackers beside `metrics.jsonl`; they write into the run's `trackers/`, offline unless their own variables say
    otherwise."""


class DataSection(Section):
    """JSONL files of samples, relative to the YAML's folder. `cold_start` has targets, `train` needs none. `workers`
    processes prepare the next window's images while this one is trained on."""

    cold_start: Path | None = None
    train: Path | None = None
    heldout: Path | None = None
    ood: Path | None = None
    workers: Annotated[int, Field(ge=0)] = 0


class EvalSection(Section):
    """What is measured after each stage."""

    limit: Count | None = None
    max_completion_length: Count = 1024
    blank_images: bool = True


class Config(Section):
    """Everything a run needs."""

    run: RunSection = RunSection()
    task: str = "image_preference"
    template: str = "default"
    model: ModelSection = ModelSection()
    engine: EngineSection = EngineSection()
    listener: ListenerSection = ListenerSection()
    data: DataSection = DataSection()
    sft: SftSection = SftSection()
    rejection_sampling: RejectionSamplingSection = RejectionSamplingSection()
    grpo: GrpoSection = GrpoSection()
    eval: EvalSection = EvalSection()

    def yaml(self) -> str:
        """The resolved configuration, every default written out."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
