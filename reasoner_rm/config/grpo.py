"""Group relative policy optimisation, its length schedule, and its alarms."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from reasoner_rm.config.base import Count, NonNegative, Positive, Section, Share
from reasoner_rm.config.training import TrainSection


class LengthStage(Section):
    """So many steps with completions of at most this length and this many of them a prompt."""

    max_completion_length: Count
    """The most tokens of a completion."""
    num_generations: Annotated[int, Field(ge=2)]
    """Completions of a prompt."""
    steps: Count
    """Optimiser steps of this stage."""


AlarmName = Literal[
    "entropy_collapse", "length_runaway", "format_only", "zero_variance", "engine_mismatch", "kl_runaway"
]


class AlarmSection(Section):
    """Warnings, once each, by the means over the last `steps` steps and over the first. A limit of `null` is never
    reached."""

    steps: Count = 20
    """Steps that the means are taken over."""
    entropy_share: Share | None = 0.1
    """Entropy below this share of what it was at first."""
    length_ratio: Positive | None = 2.0
    """Completions longer than this many times their first length."""
    format_rise: Share | None = 0.1
    """The format reward risen by more than this, with no more right answers than at first."""
    zero_variance: Share | None = 0.8
    """More than this share of groups without any difference in reward."""
    sampler_logprob_gap: Positive | None = 0.05
    """Nats between the engine's log-probabilities and the trainer's."""
    kl: Positive | None = 1.0
    """Nats a token from the reference."""
    stop_on: tuple[AlarmName, ...] = ()
    """Alarms that end the run; its state is saved."""


class GrpoSection(TrainSection):
    """Group relative policy optimisation. A step sees prompts_per_device x accumulation prompts a device, each
    answered num_generations times, and trains on them num_iterations times."""

    rewards: str | dict[str, float | list[tuple[float, float]] | dict[str, Any]] = "listener"
    """A preset, a component, or a mapping of them to weights. A setting {weight: 0.5, name: value} gives parameters;
    a weight [[0, 1.0], [200, 0.0]] runs straight between these steps."""
    prompts_per_device: Count = 1
    """Prompts of a micro-batch on each device."""
    num_generations: Annotated[int, Field(ge=2)] = 8
    """Completions of a prompt (G)."""
    gradient_accumulation_steps: Count = 8
    num_iterations: Count = 1
    """Optimiser steps on each rollout batch (μ)."""
    both_orders: bool = False
    """Every comparison is in its rollout batch twice, as it is and with the candidates exchanged, as two prompts of
    `prompts_per_device`. Position bias then earns nothing; a random imbalance of the orders would reward it."""
    epochs: Positive = 1.0
    learning_rate: Positive = 1e-6
    lr_scheduler_type: Literal["cosine", "linear", "constant", "constant_with_warmup"] = "constant_with_warmup"
    warmup_ratio: Share = 0.0
    beta: NonNegative = 0.04
    """Weight of the KL term; 0: no reference is needed."""
    epsilon: Positive = 0.2
    """The ratio to the sampling policy is clipped at 1 - epsilon below."""
    epsilon_high: Positive | None = None
    """And at 1 + epsilon_high above; None: epsilon."""
    loss_type: Literal["grpo", "dr_grpo", "bnpo", "dapo", "gspo", "cispo", "sapo"] = "grpo"
    """The surrogate and what it is a mean over; see `reasoner_rm.training.losses`."""
    scale_rewards: Literal["group", "none"] = "group"
    """`group`: advantages are divided by the group's standard deviation; `none`: not (Dr. GRPO)."""
    temperature: Positive = 1.0
    """Of the sampling, and of the log-probabilities."""
    max_completion_length: Count = 1024
    """The most tokens of a completion."""
    length_schedule: tuple[LengthStage, ...] = ()
    """Progressive thinking suppression (Vision-R1, arXiv 2503.06749: 4096 x 16, then 8192 x 8, 100 steps each): they
    replace num_generations and max_completion_length; max_steps is their sum unless it is set."""
    reward_aggregation: Literal["sum", "decoupled", "pareto"] = "sum"
    """What advantages are made of: the weighted sum of the rewards; of rewards that were normalised within the group
    first (GDPO); or the sum, for the completions alone that no other of the group beats (Parrot)."""
    filter_metric: str = "accuracy"
    """The component that groups are filtered by, and that says whether answers are right."""
    filter_epsilon: NonNegative | None = None
    """Groups whose values of that component differ by no more than this get zero advantages. None: no filter."""
    max_resample_ratio: NonNegative = 0.0
    """Dynamic sampling (DAPO, arXiv 2503.14476): such groups are replaced by other prompts, of which up to this many
    times the rollout batch's number are rolled out for it."""
    sync_ref_model: bool = False
    """TR-DPO (arXiv 2404.09656): move the reference towards the policy."""
    ref_model_mixup_alpha: Share = 0.6
    """The share of the way that the reference moves."""
    ref_model_sync_steps: Count = 512
    """Steps between two such moves."""
    alarms: AlarmSection = AlarmSection()
    """Warnings of a training that goes wrong."""
    scorers: dict[str, str] = Field(default_factory=dict)
    """Models that rewards such as `judged` call: names to functions, path/to/file.py:function."""
    scorer_timeout: Positive = 120.0
    """Seconds that the awaited rewards of a rollout batch have; what has not answered by then is not scored."""
    mask_truncated_completions: bool = False
    """Completions that were cut off bear no loss."""
    importance_sampling_correction: (
        Literal["token_truncate", "token_mask", "sequence_truncate", "sequence_mask"] | None
    ) = None
    """Importance weights for an engine whose probabilities differ from the trainer's; costs one more forward pass."""
    max_tokens_per_forward: Count | None = None
    """The most prompt and completion tokens of a forward pass of the update. A larger group is divided, its prompt
    computed once in each part; the gradient stays exact."""
    shared_prefix: bool = True
    """Compute each prompt once for all its completions; off: once for each."""
    log_rollouts_every: Count = 10
    """Rollouts are written to `rollouts.jsonl` every so many steps."""
    shuffle_rewards: bool = False
    """A sanity check: rewards are permuted within each group, so that nothing can be learnt."""

    @property
    def last_step(self) -> int:
        """How many steps there are; -1: as many as the epochs hold."""
        return (
            sum(s.steps for s in self.length_schedule)
            if self.length_schedule and self.max_steps < 0
            else self.max_steps
        )

    def lengths(self, step: int) -> tuple[int, int]:
        """The completions a prompt gets at a step, and how long they may be. After the last stage it goes on."""
        for stage in self.length_schedule:
            if step < stage.steps or stage is self.length_schedule[-1]:
                return stage.num_generations, stage.max_completion_length
            step -= stage.steps
        return self.num_generations, self.max_completion_length
