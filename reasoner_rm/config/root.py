"""The configuration of a run: a section per stage, and the sections that stages share."""

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
    """The run directory, its seed, and how processes share a model."""

    out: Path = Path("runs/run")
    """The run directory."""
    seed: int = 0
    """The seed of all random choices."""
    deepspeed: Path | None = None
    """A DeepSpeed configuration (ZeRO), for use with `torchrun`; `accelerate launch` has its own configuration."""
    report_to: tuple[Literal["tensorboard", "wandb", "trackio"], ...] = ()
    """Trackers in addition to `metrics.jsonl`. They write into the run's `trackers/` and stay offline unless their
    environment variables say otherwise."""


class DataSection(Section):
    """JSONL files of samples, relative to the YAML's folder."""

    cold_start: Path | None = None
    """Samples with targets, for SFT."""
    train: Path | None = None
    """Samples for rejection sampling and GRPO. GRPO after rejection sampling in the same run takes the rows that that
    left to RL, `rl.jsonl`."""
    heldout: Path | None = None
    """Samples to evaluate on."""
    ood: Path | None = None
    """Samples of another distribution to evaluate on."""
    workers: Annotated[int, Field(ge=0)] = 0
    """Worker processes that preprocess the images of the next batch."""


class EvalSection(Section):
    """The evaluation after each stage."""

    limit: Count | None = None
    """The most samples of a split; None: all."""
    max_completion_length: Count = 1024
    """The most tokens of a completion."""
    blank_images: bool = True
    """After the last stage evaluate once more with every image replaced by a grey one: the blind baseline."""


class Config(Section):
    """The sections and the task of a run."""

    run: RunSection = RunSection()
    task: str = "image_preference"
    """The task of all samples; see docs/glossary.md."""
    template: str = "default"
    """The name of a prompt template of the task, or a .txt file."""
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
