"""Alarms: what usually goes wrong in RL, found by comparing the metrics of the last steps with those of the first."""

from __future__ import annotations

import math
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

from reasoner_rm import distributed
from reasoner_rm.config import AlarmSection

SEEN = ("entropy", "completion_length", "truncated", "reward/format", "zero_variance", "sampler_logprob_gap", "kl",
        "all_correct", "all_incorrect")  # fmt: skip
"""The metrics that alarms look at, beside the reward that filters."""

Means = Mapping[str, float]


class Alarms:
    """Checks each step's metrics, warns once of each problem, and says which of them should end the run.

    Args:
        right: the metric that says whether answers are right.
    """

    def __init__(self, section: AlarmSection, right: str = "reward/accuracy"):
        self.section, self.right = section, right
        self.triggered: list[str] = []
        self._first: dict[str, list[float]] = defaultdict(list)
        self._last: dict[str, list[float]] = defaultdict(list)

    def update(self, step: int, metrics: Means) -> list[str]:
        """The alarms that are triggered for the first time at this step. Every process has the same metrics."""
        span = self.section.steps
        for name in (*SEEN, self.right):
            if name in metrics and math.isfinite(metrics[name]):
                if len(self._first[name]) < span:
                    self._first[name].append(metrics[name])
                self._last[name] = [*self._last[name], metrics[name]][-span:]
        new = []
        for name, (sees, cause) in CHECKS.items():
            if name not in self.triggered and sees(self):
                self.triggered.append(name)
                new.append(name)
                if distributed.is_main():
                    print(f"reasoner-rm: alarm at step {step}: {name}: {cause}", file=sys.stderr, flush=True)
        return new

    def fatal(self, new: list[str]) -> list[str]:
        """Those that should end the run."""
        return [name for name in new if name in self.section.stop_on]

    def baseline(self, name: str) -> float:
        """The mean over the first steps; NaN, which no comparison holds for, until these are over."""
        return _mean(self._first[name]) if len(self._first[name]) == self.section.steps else math.nan

    def recent(self, name: str) -> float:
        """The mean over the last steps."""
        return _mean(self._last[name]) if len(self._last[name]) == self.section.steps else math.nan

    def state_dict(self) -> dict[str, Any]:
        return {"first": dict(self._first), "last": dict(self._last), "triggered": self.triggered}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        self._first.update(state_dict["first"])
        self._last.update(state_dict["last"])
        self.triggered = list(state_dict["triggered"])


def _mean(values: list[float]) -> float:
    return math.fsum(values) / len(values)


def _entropy(a: Alarms) -> bool:
    limit = a.section.entropy_share
    return limit is not None and a.recent("entropy") < limit * a.baseline("entropy")


def _length(a: Alarms) -> bool:
    limit = a.section.length_ratio
    return limit is not None and a.recent("completion_length") > limit * a.baseline("completion_length")


def _format(a: Alarms) -> bool:
    limit = a.section.format_rise
    if limit is None:
        return False
    return a.recent("reward/format") - a.baseline("reward/format") > limit and a.recent(a.right) <= a.baseline(a.right)


def _variance(a: Alarms) -> bool:
    limit = a.section.zero_variance
    return limit is not None and a.recent("zero_variance") > limit


def _gap(a: Alarms) -> bool:
    limit = a.section.sampler_logprob_gap
    return limit is not None and a.recent("sampler_logprob_gap") > limit


def _kl(a: Alarms) -> bool:
    limit = a.section.kl
    return limit is not None and a.recent("kl") > limit


CHECKS: dict[str, tuple[Callable[[Alarms], bool], str]] = {
    "entropy_collapse": (
        _entropy,
        "the policy says the same thing again and again; likely a learning rate that is too high, too small a "
        "grpo.beta, or a reward that one phrase satisfies (grpo.epsilon_high keeps rare tokens alive)",
    ),
    "length_runaway": (
        _length,
        "completions grow and grow; likely a reward that pays for length, or a loss that averages it away "
        "(try grpo.loss_type: dr_grpo, or the component cosine_length)",
    ),
    "format_only": (
        _format,
        "the format is learnt, right answers are not; likely prompts that are too hard, or a format reward that "
        "outweighs the rest (a cold start first, or less weight on it)",
    ),
    "zero_variance": (
        _variance,
        "in most groups all rewards are equal: no gradient; likely prompts that are too easy (all_correct) or too "
        "hard (all_incorrect): use rejection sampling, or set grpo.filter_epsilon and grpo.max_resample_ratio",
    ),
    "engine_mismatch": (
        _gap,
        "the engine samples from another policy than the one that is trained; likely another precision or old weights "
        "(engine.dtype; grpo.importance_sampling_correction makes up for rounding)",
    ),
    "kl_runaway": (
        _kl,
        "the policy has left its reference; likely a learning rate that is too high or a reward that is being hacked: "
        "read rollouts.jsonl, then raise grpo.beta",
    ),
}
"""Each alarm: whether it is so, and what is likely behind it."""
