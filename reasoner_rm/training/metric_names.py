"""The metrics that training writes: the source of docs/metrics.md. `NAME` is a placeholder for a component or type."""

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
    MetricName("loss", "all", "loss of the step, over all processes"),
    MetricName("grad_norm", "all", "norm of the gradient before clipping"),
    MetricName("learning_rate", "all", "learning rate of the step"),
    MetricName("token_accuracy", "SFT", "share of target tokens that are the argmax of the model's distribution; 0..1"),
    MetricName("reward", "GRPO", "mean over groups of the weighted sum of the components"),
    MetricName("reward_std", "GRPO", "standard deviation of the total within a group, mean over groups"),
    MetricName("reward/NAME", "GRPO", "mean of a component, over the completions for which it is not None"),
    MetricName("unscorable/NAME", "GRPO", "share of completions for which a component is None; 0..1"),
    MetricName("well_formed", "GRPO", "share of completions in the required format; 0..1"),
    MetricName("zero_variance", "GRPO", "share of groups whose total rewards are all equal; 0..1"),
    MetricName("all_correct", "GRPO", "share of groups in which all completions are correct by `filter_metric`; 0..1"),
    MetricName("all_incorrect", "GRPO", "share of groups in which no completion is correct by `filter_metric`; 0..1"),
    MetricName("uninformative", "GRPO", "dynamic sampling: share of the groups drawn first in which `filter_metric` "
               "does not vary, with `both_orders` of pairs of groups; 0..1"),
    MetricName("replaced", "GRPO", "dynamic sampling: share of groups that were replaced; 0..1"),
    MetricName("resampled", "GRPO", "dynamic sampling: prompts rolled out as replacements, relative to the batch"),
    MetricName("completion_length", "GRPO", "mean tokens per completion"),
    MetricName("truncated", "GRPO", "share of completions that reached the length limit; 0..1"),
    MetricName("entropy", "GRPO", "entropy of the policy, mean over completion tokens; nats"),
    MetricName("ratio", "GRPO", "probability ratio of the policy to the sampling policy, mean over tokens"),
    MetricName("clip_low", "GRPO", "share of tokens whose ratio is clipped at the lower bound; 0..1"),
    MetricName("clip_high", "GRPO", "share of tokens whose ratio is clipped at the upper bound; 0..1"),
    MetricName("kl", "GRPO", "k3 estimate of the KL divergence from the reference, mean over tokens; nats"),
    MetricName("sampler_logprob_gap", "GRPO", "mean absolute log-probability difference of engine and trainer"),
    MetricName("sampler_logprob_gap_max", "GRPO", "largest such difference of a token, over all processes"),
    MetricName("listener/option_mass", "GRPO", "total probability of the option tokens; 0..1"),
    MetricName("listener/agreement", "GRPO", "share of completions whose verdict is the listener's top option; 0..1"),
    MetricName("listener/contradiction", "GRPO", "1 minus the agreement"),
    MetricName("listener/accuracy_NAME", "GRPO", "accuracy of completions with which the listener agrees or not"),
    MetricName("listener_failure_rate", "GRPO", "share of the batch's requests that failed at the listener's server"),
    MetricName("listener_overlap", "GRPO", "seconds of listening during the rollout; no phase includes them"),
    MetricName("vision_r1/NAME", "GRPO", "recall and precision of boxes before differentiation; 0..1"),
    MetricName("vicrit/NAME", "GRPO", "reward by type of caption error"),
    MetricName("vicrit_released/NAME", "GRPO", "reward by type of caption error"),
    MetricName("eval/NAME", "all", "with `eval_steps`: metrics on held-out samples"),
    MetricName("time/step", "all", "total seconds of the step"),
    MetricName("time/NAME", "all", "seconds of a phase: encoding, weights, rollout, listening, scoring, "
               "fixed_logprobs (of the old policy and the reference), "
               "forward, backward, optimiser, evaluation, saving"),
    MetricName("time/overhead", "all", "seconds outside all phases"),
)  # fmt: skip
"""A user's own reward adds the metrics that it returns."""
