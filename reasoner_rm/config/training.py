"""Settings of every training, of supervised fine-tuning, and of rejection sampling."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from reasoner_rm.config.base import Count, NonNegative, Positive, Section, Share
from reasoner_rm.config.model import ModelPart


class TrainSection(Section):
    """What every training has. Names and meanings are those of `transformers.TrainingArguments`."""

    learning_rate: Positive
    """The greatest learning rate of the schedule."""
    learning_rates: dict[ModelPart, Positive] = Field(default_factory=dict)
    """Learning rates of parts of the model, where they differ from `learning_rate`."""
    lr_scheduler_type: Literal["cosine", "linear", "constant", "constant_with_warmup"]
    """The schedule after the warm-up."""
    warmup_ratio: Share
    """The share of the steps over which the learning rate rises from 0."""
    epochs: Positive
    """Passes over the data, where `max_steps` does not say otherwise."""
    max_steps: int = -1
    """Optimiser steps; -1: as many as the epochs hold."""
    gradient_accumulation_steps: Count
    """Micro-batches of a step on each device."""
    weight_decay: NonNegative = 0.0
    """AdamW's; norms and biases do not decay."""
    max_grad_norm: Positive = 1.0
    """The norm that gradients are clipped to."""
    gradient_checkpointing: bool = False
    """Compute activations again in the backward pass instead of keeping them."""
    bf16: bool = False
    """Autocast to bfloat16."""
    save_steps: Count = 50
    """A state to resume from is written every so many steps; all are deleted when the stage is over."""
    save_total_limit: Count = 2
    """How many of the last states are kept."""
    eval_steps: Count | None = None
    """Evaluate on `data.heldout` every so many steps, and after the last; metrics `eval/NAME`."""
    metric_for_best_model: Literal["accuracy", "consistency", "well_formed", "mean_ap", "ap50"] | None = None
    """The stage ends with the weights that were best by this metric, not with the last ones."""
    early_stopping_patience: Count | None = None
    """The stage ends after so many evaluations in a row without a better one."""


class SftSection(TrainSection):
    """Supervised fine-tuning on the samples' targets; loss on the target only."""

    learning_rate: Positive = 2.5e-6
    epochs: Positive = 3.0
    batch_size: Count = 8
    """Samples of a micro-batch on each device."""
    gradient_accumulation_steps: Count = 1
    warmup_ratio: Share = 0.05
    lr_scheduler_type: Literal["cosine", "linear", "constant", "constant_with_warmup"] = "cosine"


class RejectionSamplingSection(Section):
    """Completions are sampled for every row. Rows of a high pass rate become SFT data (the best well-formed completion
    as target), rows of a low one RL data; then comes SFT on the former."""

    num_samples: Count = 4
    """Completions of a row, and order."""
    sft_above: Share = 0.75
    """Rows of at least this pass rate become SFT data."""
    rl_below: Share = 0.25
    """Rows of at most this pass rate become RL data."""
    route_rest: Literal["both", "rl", "sft", "neither"] = "both"
    """Where rows between the two go."""
    both_orders: bool = False
    """Ask every comparison in both orders, and fine-tune on right answers in both. A position bias is then right in
    half of the completions: below `sft_above`, so that fine-tuning does not reinforce it."""
    route_solved: Literal["sft", "both"] = "sft"
    """Where rows of at least `sft_above` go. RL on nothing but the rows that a model gets wrong punishes what it does
    right elsewhere, and accuracy falls below chance."""
    temperature: Positive = 1.0
    """Of the sampling."""
    max_completion_length: Count = 1024
    """The most tokens of a completion."""
    sft: SftSection = SftSection()
    """The fine-tuning that follows."""
