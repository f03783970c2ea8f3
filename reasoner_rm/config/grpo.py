"""Group relative policy optimisation, its stages of length, and its alarms."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from reasoner_rm.config.base import Count, NonNegative, Positive, Section, Share
from reasoner_rm.config.training import TrainSection


class LengthStage(Section):
    """So many steps with completions of at most this length and this many of them a prompt."""

    max_completion_length: Count
    num_generations: Annotated[int, Field(ge=2)]
    steps: Count


AlarmName = Literal[
    "entropy_collapse", "length_runaway", "format_only", "zero_variance", "engine_mismatch", "kl_runaway"
]


class AlarmSection(Section):
    """What is warned of, once each, by the means over the last `steps` steps and over the first. A limit of `null` is
    never reached; `stop_on` names those that end the run, its state saved."""

    steps: Count = 20
    entropy_share: Share | None = 0.1
    """Entropy below this share of what it was at first."""
    length_ratio: Positive | None = 2.0
    """Completions more than this many times as long as at first."""
    format_rise: Share | None = 0.1
    """The format reward risen by more than this, with no more right answers than at first."""
    zero_variance: Share | None = 0.8
    """More than this share of groups without any difference in reward."""
    sampler_logprob_gap: Positive | None = 0.05
    """Nats between the engine's log-probabilities and the trainer's."""
    kl: Positive | None = 1.0
    """Nats a token from the reference."""
    stop_on: tuple[AlarmName, ...] = ()


class GrpoSection(TrainSection):
    """Group relative policy optimisation. A step sees prompts_per_device x accumulation prompts a device, each
    answered num_generations times, and trains on them num_iterations times."""

    rewards: str | dict[str, float | list[tuple[float, float]] | dict[str, Any]] = "listener"
    """A preset, a component, or a mapping of them to weights. A setting {weight: 0.5, name: value} gives parameters;
    a weight [[0, 1.0], [200, 0.0]] runs straight between these steps."""
    prompts_per_device: Count = 1
    num_generations: Annotated[int, Field(ge=2)] = 8
    gradient_accumulation_steps: Count = 8
    num_iterations: Count = 1
    both_orders: bool = False
    """Every comparison stands in its window twice, as it is and with the candidates exchanged, as two prompts of
    `prompts_per_device`. A taste for one position then earns nothing; a random imbalance of the orders rewards it."""
    epochs: Positive = 1.0
    learning_rate: Positive = 1e-6
    lr_scheduler_type: Literal["cosine", "linear", "constant", "constant_with_warmup"] = "constant_with_warmup"
    warmup_ratio: Share = 0.0
    beta: NonNegative = 0.04
    epsilon: Positive = 0.2
    epsilon_high: Positive | None = None
    loss_type: Literal["grpo", "dr_grpo", "bnpo", "dapo", "gspo", "cispo", "sapo"] = "grpo"
    scale_rewards: Literal["group", "none"] = "group"
    temperature: Positive = 1.0
    max_completion_length: Count = 1024
    length_schedule: tuple[LengthStage, ...] = ()
    """Progressive thinking suppression (Vision-R1, arXiv 2503.06749: 4096 x 16, then 8192 x 8, 100 steps each): they
    take the place of num_generations and max_completion_length; max_steps is their sum unless it is set."""
    reward_aggregation: Literal["sum", "decoupled", "pareto"] = "sum"
    """What advantages are made of: the weighted sum of the rewards; of rewards that were normalised within the group
    first (GDPO); or the sum, for the completions alone that no other of the group beats (Parrot)."""
    filter_metric: str = "accuracy"
    filter_epsilon: NonNegative | None = None
    """Groups that differ by no more than this in that component teach nothing. None: no group is filtered."""
    max_resample_ratio: NonNegative = 0.0
    """Dynamic sampling (DAPO, arXiv 2503.14476): such groups give their places to other prompts, of which up to this
    many times the window's number are rolled out beside it."""
    sync_ref_model: bool = False
    """TR-DPO (arXiv 2404.09656): every `ref_model_sync_steps` steps the reference goes `ref_model_mixup_alpha` of the
    way to the policy."""
    ref_model_mixup_alpha: Share = 0.6
    ref_model_sync_steps: Count = 512
    alarms: AlarmSection = AlarmSection()
    scorers: dict[str, str] = Field(default_factory=dict)
    """Who rewards such as `judged` ask: names to functions, path/to/file.py:function."""
    scorer_timeout: Positive = 120.0
    """Seconds that the awaited rewards of a window have; what has not answered by then could not be scored."""
    mask_truncated_completions: bool = False
    importance_sampling_correction: (
        Literal["token_truncate", "token_mask", "sequence_truncate", "sequence_mask"] | None
    ) = None
    """Importance weights for an engine whose probabilities differ from the trainer's; costs one more forward pass."""
    max_tokens_per_forward: Count | None = None
    """Prompt and completion tokens of one forward pass of the update; a larger group goes in parts, its prompt
    computed once in each, and the gradient stays what it is."""
    shared_prefix: bool = True
    log_rollouts_every: Count = 10
    shuffle_rewards: bool = False
    """A sanity check, not a recipe: rewards are permuted within each group, so that nothing can be learnt."""

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
