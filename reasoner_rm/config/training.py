"""What every training has, and supervised fine-tuning: the cold start, and what rejection sampling teaches."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from reasoner_rm.config.base import Count, NonNegative, Positive, Section, Share
from reasoner_rm.config.model import ModelPart


class TrainSection(Section):
    """What every training has. A state to resume from is kept every `save_steps` steps, the last `save_total_limit`
    of them at a time; when the stage is over they go."""

    learning_rate: Positive
    learning_rates: dict[ModelPart, Positive] = Field(default_factory=dict)
    """Of parts whose rate is another."""
    lr_scheduler_type: Literal["cosine", "linear", "constant", "constant_with_warmup"]
    warmup_ratio: Share
    epochs: Positive
    max_steps: int = -1
    gradient_accumulation_steps: Count
    weight_decay: NonNegative = 0.0
    max_grad_norm: Positive = 1.0
    gradient_checkpointing: bool = False
    bf16: bool = False
    save_steps: Count = 50
    save_total_limit: Count = 2
    eval_steps: Count | None = None
    """Measure on `data.heldout` every so many steps, and after the last; the metrics hold it as `eval/NAME`."""
    metric_for_best_model: Literal["accuracy", "consistency", "well_formed", "mean_ap", "ap50"] | None = None
    """The stage ends with the weights that were best by this figure, not with the last ones."""
    early_stopping_patience: Count | None = None
    """The stage ends after so many measurements in a row without a better one."""


class SftSection(TrainSection):
    """Supervised fine-tuning on the samples' targets; loss on the target only."""

    learning_rate: Positive = 2.5e-6
    epochs: Positive = 3.0
    batch_size: Count = 8
    gradient_accumulation_steps: Count = 1
    warmup_ratio: Share = 0.05
    lr_scheduler_type: Literal["cosine", "linear", "constant", "constant_with_warmup"] = "cosine"


class RejectionSamplingSection(Section):
    """Rejection sampling: `samples` completions a row and order. A pass rate of at least `sft_above` makes a row SFT
    data (its best well-formed completion as target), one of at most `rl_below` RL data; `rest` says where the others
    go."""

    num_samples: Count = 4
    sft_above: Share = 0.75
    rl_below: Share = 0.25
    route_rest: Literal["both", "rl", "sft", "neither"] = "both"
    both_orders: bool = False
    """Ask every comparison in both orders, and learn its answers in both. A taste for one position is then right half
    of the time, not now and then always: below `sft_above`, and fine-tuning does not teach it."""
    route_solved: Literal["sft", "both"] = "sft"
    """Where rows of at least `sft_above` go. RL on nothing but the rows that a model gets wrong punishes what it
    does right: there its own eyes are worse than a coin, and it learns to close them."""
    temperature: Positive = 1.0
    max_completion_length: Count = 1024
    sft: SftSection = SftSection()
