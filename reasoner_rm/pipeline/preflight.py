"""Checks of a stage before weights are loaded or a file is written.

A stage and its `--dry-run` make the same ones, so that neither accepts what the other refuses.
"""

from __future__ import annotations

from collections.abc import Sequence

from reasoner_rm.config import Config, GrpoSection, SftSection
from reasoner_rm.data.io import load_samples
from reasoner_rm.log import warn_once
from reasoner_rm.models.loading import load_architecture, resolve_model
from reasoner_rm.models.quantization import check_quantize
from reasoner_rm.pipeline.context import RunContext
from reasoner_rm.pipeline.listener_factory import check_listener, has_listener
from reasoner_rm.rollout.factory import check_engine
from reasoner_rm.schema import Sample
from reasoner_rm.training.evaluation import check_schedule
from reasoner_rm.training.grpo import check_settings, in_orders
from reasoner_rm.training.run_dir import RL_FILE, Stage
from reasoner_rm.training.sft import check_targets


def check_stage(context: RunContext, stage: Stage, processes: int = 1) -> Sequence[Sample]:
    """The samples of a stage that has been checked.

    Args:
        processes: the number of processes that will train.

    Raises:
        InputError: settings, data or a model that would stop the stage.
    """
    config = context.config
    check_schedule(section_of(config, stage), config.data.heldout is not None)
    check_quantize(config.model)
    load_architecture(resolve_model(context.run.latest() or config.model.path))
    samples = training_samples(context, stage)
    if stage == "cold_start":
        check_targets(samples)
    if stage != "cold_start":
        check_engine(config.engine, sync_weights=stage == "grpo")
    if stage == "grpo":
        check_listener(config)
        trained = in_orders(config.grpo, samples)
        check_settings(config.grpo, trained, has_listener=has_listener(config), processes=processes)
    for split in ("heldout", "ood"):
        if getattr(config.data, split) is not None:
            context.samples(split)
    return samples


def training_samples(context: RunContext, stage: Stage) -> Sequence[Sample]:
    """The samples that a stage trains on: GRPO takes what rejection sampling left to it."""
    rl_rows = context.run.path / RL_FILE
    if stage == "grpo" and rl_rows.is_file():
        warn_once(f"grpo: the rows that rejection sampling left to RL, {rl_rows}")
        return load_samples(rl_rows)
    return context.samples("cold_start" if stage == "cold_start" else "train")


def section_of(config: Config, stage: Stage) -> GrpoSection | SftSection:
    """The settings of a stage's training."""
    if stage == "grpo":
        return config.grpo
    return config.sft if stage == "cold_start" else config.rejection_sampling.sft
