"""Settings of every training, of supervised fine-tuning, and of rejection sampling."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from reasoner_rm.config.base import Count, NonNegative, Positive, Section, Share, Temperature
from reasoner_rm.config.model import ModelPart


class TrainSection(Section):
    """Settings of every training. Names that `transformers.TrainingArguments` has, too, mean the same."""

    learning_rate: Positive
    """The peak learning rate of the schedule."""
    learning_rates: dict[ModelPart, Positive] = Field(default_factory=dict)
    """Learning rates of parts of the model that differ from `learning_rate`."""
    lr_scheduler_type: Literal["cosine", "linear", "constant", "constant_with_warmup"]
    """The schedule after the warm-up."""
    warmup_ratio: Share
    """The share of the steps over which the learning rate rises from 0."""
    epochs: Positive
    """Passes over the data, unless `max_steps` is set."""
    max_steps: int = -1
    """Optimiser steps; -1: determined by `epochs`."""
    gradient_accumulation_steps: Count
    """Micro-batches per optimiser step and device."""
    weight_decay: NonNegative = 0.0
    """Weight decay of AdamW; not applied to norms and biases."""
    max_grad_norm: Positive = 1.0
    """The norm to which gradients are clipped."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass instead of storing them."""
    bf16: bool = False
    """Autocast to bfloat16."""
    save_steps: Count = 50
    """Save a state to resume from every N steps; all are deleted when the stage is completed."""
    save_total_limit: Count = 2
    """The number of states to keep."""
    eval_steps: Count | None = None
    """Evaluate on `data.heldout` every N steps and after the last; metrics `eval/NAME`."""
    metric_for_best_model: Literal["accuracy", "consistency", "well_formed", "mean_ap", "ap50"] | None = None
    """The stage ends with the weights that were best by this metric instead of the last ones."""
    early_stopping_patience: Count | None = None
    """The stage ends after N consecutive evaluations without improvement."""


class SftSection(TrainSection):
    """Supervised fine-tuning on the samples' targets; loss on the target only."""

    learning_rate: Positive = 2.5e-6
    epochs: Positive = 3.0
    batch_size: Count = 8
    """Samples per micro-batch and device."""
    gradient_accumulation_steps: Count = 1
    warmup_ratio: Share = 0.05
    lr_scheduler_type: Literal["cosine", "linear", "constant", "constant_with_warmup"] = "cosine"


class RejectionSamplingSection(Section):
    """Completions are sampled for every row. Rows with a high pass rate become SFT data (the best well-formed
    completion as target), rows with a low one RL data; SFT on the former follows."""

    num_samples: Count = 4
    """Completions per row and candidate order."""
    sft_above: Share = 0.75
    """Rows with at least this pass rate become SFT data."""
    rl_below: Share = 0.25
    """Rows with at most this pass rate become RL data."""
    route_rest: Literal["both", "rl", "sft", "neither"] = "both"
    """The use of rows between the two."""
    both_orders: bool = False
    """Sample every comparison in both candidate orders, and fine-tune on correct answers in both. A judge with position
    bias then has a pass rate of one half, below `sft_above`, so that fine-tuning does not reinforce the bias."""
    route_solved: Literal["sft", "both"] = "sft"
    """The use of rows with at least `sft_above`. RL on only those rows that a model gets wrong penalises what is
    correct elsewhere, and accuracy falls below chance."""
    temperature: Temperature = 1.0
    """Temperature of sampling."""
    max_completion_length: Count = 1024
    """The most tokens of a completion."""
    sft: SftSection = SftSection()
    """The fine-tuning on the SFT rows."""
