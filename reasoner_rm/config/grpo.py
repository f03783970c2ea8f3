"""Group relative policy optimisation, its length schedule, and its alarms."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field

from reasoner_rm.config.base import Count, NonNegative, Positive, Section, Share, Temperature
from reasoner_rm.config.training import TrainSection

LossType: TypeAlias = Literal["grpo", "dr_grpo", "bnpo", "dapo", "gspo", "cispo", "sapo"]
Correction: TypeAlias = Literal["token_truncate", "token_mask", "sequence_truncate", "sequence_mask"]


class LengthStage(Section):
    """One stage of the length schedule: steps, completion length and group size."""

    max_completion_length: Count
    """The most tokens of a completion."""
    num_generations: Annotated[int, Field(ge=2)]
    """Completions per prompt."""
    steps: Count
    """Optimiser steps of this stage."""


AlarmName = Literal[
    "entropy_collapse", "length_runaway", "format_only", "zero_variance", "engine_mismatch", "kl_runaway"
]


class AlarmSection(Section):
    """Warnings, once each, that compare the means over the last `steps` steps with those over the first. `null`
    disables an alarm."""

    steps: Count = 20
    """Steps of each mean."""
    entropy_share: Share | None = 0.1
    """Warn if the entropy falls below this share of its first mean."""
    length_ratio: Positive | None = 2.0
    """Warn if completions become longer than this multiple of their first mean length."""
    format_rise: Share | None = 0.1
    """Warn if the format reward rises by more than this while accuracy does not rise."""
    zero_variance: Share | None = 0.8
    """Warn if more than this share of groups has no reward variance."""
    sampler_logprob_gap: Positive | None = 0.05
    """Warn if the mean log-probability gap between engine and trainer exceeds this, in nats."""
    kl: Positive | None = 1.0
    """Warn if the KL divergence from the reference exceeds this, in nats per token."""
    stop_on: tuple[AlarmName, ...] = ()
    """Alarms that stop the run, with a saved state."""


class GrpoSection(TrainSection):
    """Group relative policy optimisation. A rollout batch has prompts_per_device x gradient_accumulation_steps
    prompts per device with num_generations completions each, and num_iterations optimiser steps use it."""

    rewards: str | dict[str, float | list[tuple[float, float]] | dict[str, Any]] = "listener"
    """A preset, a component, or a mapping of them to weights. {weight: 0.5, name: value} sets parameters; a weight
    [[0, 1.0], [200, 0.0]] is interpolated linearly between these steps."""
    prompts_per_device: Count = 1
    """Prompts per micro-batch and device."""
    num_generations: Annotated[int, Field(ge=2)] = 8
    """Completions per prompt (G)."""
    gradient_accumulation_steps: Count = 8
    num_iterations: Count = 1
    """Optimiser steps on each rollout batch (μ)."""
    both_orders: bool = False
    """Each comparison is in its rollout batch twice, with the candidates in both orders, as two prompts of
    `prompts_per_device`. Position bias then has no advantage; a random imbalance of the orders would reward it."""
    epochs: Positive = 1.0
    learning_rate: Positive = 1e-6
    lr_scheduler_type: Literal["cosine", "linear", "constant", "constant_with_warmup"] = "constant_with_warmup"
    warmup_ratio: Share = 0.0
    beta: NonNegative = 0.04
    """Weight of the KL term; 0: no reference model."""
    epsilon: Positive = 0.2
    """The lower clipping bound of the probability ratio is 1 - epsilon."""
    epsilon_high: Positive | None = None
    """The upper clipping bound is 1 + epsilon_high; None: 1 + epsilon. Also for `cispo`, where TRL's `epsilon_high` is
    the bound itself."""
    loss_type: LossType = "grpo"
    """The surrogate loss and its normalisation; see `reasoner_rm.training.losses`."""
    scale_rewards: Literal["group", "none"] = "group"
    """`group`: advantages are divided by the group's standard deviation; `none`: they are not (Dr. GRPO)."""
    temperature: Temperature = 1.0
    """Temperature of sampling and of log-probabilities."""
    max_completion_length: Count = 1024
    """The most tokens of a completion."""
    length_schedule: tuple[LengthStage, ...] = ()
    """Progressive thinking suppression (Vision-R1, arXiv 2503.06749: 4096 x 16, then 8192 x 8, 100 steps each).
    Replaces num_generations and max_completion_length; max_steps defaults to the sum of the stages' steps."""
    reward_aggregation: Literal["sum", "decoupled", "pareto"] = "sum"
    """`sum`: the weighted sum of the rewards. `decoupled`: each reward is normalised within the group before the sum
    (GDPO). `pareto`: the sum, with zero advantages for completions that another one dominates (Parrot)."""
    filter_metric: str = "accuracy"
    """The component that decides whether a completion is correct, for filters and metrics; of a user's own function
    its name in the metrics, `own.py:function`."""
    filter_epsilon: NonNegative | None = None
    """Groups in which that component varies by at most this get zero advantages. None: no filter."""
    max_resample_ratio: NonNegative = 0.0
    """Dynamic sampling (DAPO, arXiv 2503.14476): filtered groups are replaced by groups of other prompts. At most
    this multiple of the rollout batch's prompts is rolled out as replacements."""
    sync_ref_model: bool = False
    """TR-DPO (arXiv 2404.09656): move the reference towards the policy."""
    ref_model_mixup_alpha: Share = 0.6
    """The weight of the policy in the update of the reference."""
    ref_model_sync_steps: Count = 512
    """Steps between two updates of the reference."""
    alarms: AlarmSection = AlarmSection()
    """Warnings about failing training."""
    scorers: dict[str, str] = Field(default_factory=dict)
    """Models that rewards such as `judged` call: names to functions, path/to/file.py:function."""
    scorer_timeout: Positive = 120.0
    """Seconds for the asynchronous rewards of a rollout batch; a reward that takes longer is None."""
    mask_truncated_completions: bool = False
    """Exclude truncated completions from the loss."""
    importance_sampling_correction: Correction | None = None
    """Importance weights that correct for the engine's different probabilities, within 0 and 3; costs one more forward
    pass."""
    max_tokens_per_forward: Count | None = None
    """The most prompt and completion tokens of a forward pass in the update. A larger group is split into parts, with
    the prompt computed once in each; the gradient stays exact."""
    shared_prefix: bool = True
    """Compute each prompt once for all of its completions; false: once per completion."""
    log_rollouts_every: Count = 10
    """Write the rollouts that are trained on to `rollouts.jsonl` every N steps: those of the rollout batch among whose
    steps is a multiple of N."""
    shuffle_rewards: bool = False
    """A control experiment: permute the rewards within each group, so that nothing can be learnt."""

    @property
    def last_step(self) -> int:
        """The number of optimiser steps; -1: determined by `epochs`."""
        return (
            sum(s.steps for s in self.length_schedule)
            if self.length_schedule and self.max_steps < 0
            else self.max_steps
        )

    def lengths(self, step: int) -> tuple[int, int]:
        """(num_generations, max_completion_length) at a step; after the last stage, those of the last stage."""
        for stage in self.length_schedule:
            if step < stage.steps or stage is self.length_schedule[-1]:
                return stage.num_generations, stage.max_completion_length
            step -= stage.steps
        return self.num_generations, self.max_completion_length
