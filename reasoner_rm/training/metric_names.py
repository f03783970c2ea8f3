"""The metrics that training writes, by name: the source of docs/metrics.md. `NAME` stands for a component or a kind."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MetricName:
    """A name with its placeholder, the stages that log it, and its meaning."""

    name: str
    stages: str
    meaning: str

    def matches(self, name: str) -> bool:
        """Whether a logged name is this one."""
        return re.fullmatch(re.escape(self.name).replace("NAME", r".+"), name) is not None


METRICS: tuple[MetricName, ...] = (
    MetricName("loss", "all", "of the step, over all processes"),
    MetricName("grad_norm", "all", "norm of the gradient before clipping"),
    MetricName("learning_rate", "all", "that the step was made with"),
    MetricName("token_accuracy", "SFT", "share of target tokens that are the most probable ones; 0..1"),
    MetricName("reward", "GRPO", "mean over groups of the weighted sum of the components"),
    MetricName("reward_std", "GRPO", "standard deviation of the total within a group, mean over groups"),
    MetricName("reward/NAME", "GRPO", "mean of a component, over the completions that it could score"),
    MetricName("unscorable/NAME", "GRPO", "share of completions that a component could not score; 0..1"),
    MetricName("well_formed", "GRPO", "share of completions in the demanded form; 0..1"),
    MetricName("zero_variance", "GRPO", "share of groups whose totals are all equal; 0..1"),
    MetricName("all_correct", "GRPO", "share of groups that are right throughout by `filter_metric`; 0..1"),
    MetricName("all_incorrect", "GRPO", "share of groups that are wrong throughout by `filter_metric`; 0..1"),
    MetricName("uninformative", "GRPO", "dynamic sampling: share of groups that did not vary as first drawn; 0..1"),
    MetricName("replaced", "GRPO", "dynamic sampling: share of groups that others replaced; 0..1"),
    MetricName("resampled", "GRPO", "dynamic sampling: prompts rolled out for it, as a share of the batch"),
    MetricName("completion_length", "GRPO", "tokens of a completion, mean"),
    MetricName("truncated", "GRPO", "share of completions that were cut off at their limit; 0..1"),
    MetricName("entropy", "GRPO", "of the policy's distributions, mean over completion tokens; nats"),
    MetricName("ratio", "GRPO", "of the policy to the sampling policy, mean over tokens"),
    MetricName("clip_low", "GRPO", "share of tokens whose ratio is clipped below; 0..1"),
    MetricName("clip_high", "GRPO", "share of tokens whose ratio is clipped above; 0..1"),
    MetricName("kl", "GRPO", "estimate (k3) of the divergence from the reference, mean over tokens; nats"),
    MetricName("sampler_logprob_gap", "GRPO", "mean difference of the engine's log-probabilities from the trainer's"),
    MetricName("sampler_logprob_gap_max", "GRPO", "the greatest such difference of a token, over all processes"),
    MetricName("listener/option_mass", "GRPO", "probability that the options hold together; 0..1"),
    MetricName("listener/agreement", "GRPO", "share of completions whose verdict the listener's first choice is; 0..1"),
    MetricName("listener/contradiction", "GRPO", "1 less the agreement"),
    MetricName("listener/accuracy_NAME", "GRPO", "accuracy of the completions that it agrees with, or contradicts"),
    MetricName("listener_failure_rate", "GRPO", "share of the batch's questions that a listener's server failed on"),
    MetricName("listener_overlap", "GRPO", "seconds of listening that the rollout covered; no phase counts them again"),
    MetricName("vision_r1/NAME", "GRPO", "recall and precision of boxes before they are differentiated; 0..1"),
    MetricName("vicrit/NAME", "GRPO", "the reward by kind of caption error"),
    MetricName("vicrit_released/NAME", "GRPO", "the reward by kind of caption error"),
    MetricName("eval/NAME", "all", "with `eval_steps`: metrics of held-out samples"),
    MetricName("time/step", "all", "seconds of the step in all"),
    MetricName("time/NAME", "all", "seconds of a phase: encoding, weights, rollout, listening, scoring, reference, "
               "forward, backward, optimiser, evaluation, saving"),
    MetricName("time/overhead", "all", "seconds that no phase accounts for"),
)  # fmt: skip
"""A user's own reward adds the metrics that it returns."""
