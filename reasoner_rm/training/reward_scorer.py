"""From rolled-out groups to scored ones: parsed, rewarded, summed, compared within the group."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from reasoner_rm import distributed
from reasoner_rm.config import GrpoSection
from reasoner_rm.errors import InputError
from reasoner_rm.models.token_offsets import token_ends
from reasoner_rm.rewards import (
    WeightedReward,
    decoupled_sum,
    has_variance,
    pareto_front,
    parse_spec,
    score_groups,
    weighted_sum,
    weights,
)
from reasoner_rm.rewards.aggregate import Components
from reasoner_rm.rewards.base import RewardOutput, Values
from reasoner_rm.rewards.scoring import check_scorers
from reasoner_rm.rewards.sentence import token_advantages
from reasoner_rm.rewards.user_functions import load_function
from reasoner_rm.schema import Belief, BoxSpace, Group, RewardContext, ScoredGroup
from reasoner_rm.tasks import get_task
from reasoner_rm.training.advantages import group_advantages
from reasoner_rm.utils.seeding import stable_seed
from reasoner_rm.utils.user_code import short_name

Sizes: TypeAlias = tuple[tuple[tuple[int, int], tuple[int, int]], ...]

EMA_DECAY = 0.95
"""Weight of the past in a metric's running mean. The mean starts at 0, so that one lucky batch is no best mean."""


def reward_mixture(section: GrpoSection) -> dict[str, WeightedReward]:
    """The weighted rewards of a configuration.

    Raises:
        InputError: as `parse_spec`; or groups are filtered by a component that is not among the rewards.
    """
    mixture = parse_spec(section.rewards)
    if section.filter_epsilon is not None and short_name(section.filter_metric) not in mixture:
        what = f"grpo.filter_metric is {section.filter_metric!r}, which is none of the rewards"
        raise InputError(what, remedy=f"choose among {', '.join(mixture)}")
    return mixture


class RewardScorer:
    """Scores rolled-out groups with a mixture of rewards, and tracks the best running means of the rewards' metrics.

    Args:
        scorers: models that rewards call, by name; the section's own functions are added.

    Raises:
        InputError: a wrong mixture, or one that needs a scorer that is not there.
    """

    def __init__(
        self,
        section: GrpoSection,
        box_space: BoxSpace,
        tokenizer: Any,
        scorers: Mapping[str, Callable[..., Any]],
        seed: int,
    ):
        self.section = section
        self.mixture = reward_mixture(section)
        self.filter_metric = short_name(section.filter_metric)
        self.box_space = box_space
        self.tokenizer = tokenizer
        self.scorers = {**scorers, **{name: load_function(where) for name, where in section.scorers.items()}}
        check_scorers(self.mixture, self.scorers)
        self.seed = seed
        self._means: dict[str, float] = defaultdict(float)
        self._best_means: dict[str, float] = defaultdict(float)

    def __call__(
        self,
        groups: Sequence[Group],
        sizes: Sequence[Sizes],
        beliefs: Sequence[tuple[Belief | None, ...] | None],
        step: int,
        progress: float,
    ) -> list[ScoredGroup]:
        """Score the groups of a rollout batch. Collective: call it on every process.

        Args:
            sizes: (original, processed) sizes of each group's images.
            beliefs: the listener's, for each group.
        """
        parsed = [tuple(get_task(g.sample.task).parse(c.text, g.sample) for c in g.completions) for g in groups]
        contexts = [
            RewardContext(
                step=step, progress=progress, best_means=self._best_means, beliefs=believed, image_sizes=size,
                box_space=self.box_space, scorers=self.scorers,
            )
            for size, believed in zip(sizes, beliefs, strict=True)
        ]  # fmt: skip
        with distributed.raise_on_all_ranks():
            outputs = score_groups(
                self.mixture, list(zip(groups, parsed, contexts, strict=True)), self.section.scorer_timeout
            )
        metrics = [{k: tuple(v) for out in found.values() for k, v in out.metrics.items()} for found in outputs]
        self._update_means(metrics)
        reward_weights = weights(self.mixture, step)
        scored = []
        for group, completions, belief, output, logged in zip(groups, parsed, beliefs, outputs, metrics, strict=True):
            components = {name: tuple(out.values) for name, out in output.items()}
            total = weighted_sum(reward_weights, components)
            if self.section.shuffle_rewards:
                total = tuple(random.Random(stable_seed(self.seed, group.sample.id, step)).sample(total, len(total)))
            if self.is_informative(components):
                advantages = self._advantages(reward_weights, components, total)
                tokens = self._by_token(group, advantages, output, reward_weights)
            else:
                advantages, tokens = (0.0,) * len(total), None
            scored.append(ScoredGroup(group, completions, components, total, advantages, belief, logged, tokens))
        return scored

    def is_informative(self, components: Components) -> bool:
        """Whether a group varies enough in the component that groups are filtered by."""
        epsilon = self.section.filter_epsilon
        return epsilon is None or has_variance(components, self.filter_metric, epsilon)

    def _advantages(
        self, weighed: Mapping[str, float], components: Components, total: tuple[float, ...]
    ) -> tuple[float, ...]:
        # Shuffled totals have lost their components, which the other two look at.
        aggregation = "sum" if self.section.shuffle_rewards else self.section.reward_aggregation
        if aggregation == "decoupled":
            total = decoupled_sum(weighed, components)
        advantages = group_advantages(total, self.section.scale_rewards)
        if aggregation == "pareto":
            front = pareto_front(weighed, components)
            return tuple(a if best else 0.0 for a, best in zip(advantages, front, strict=True))
        return advantages

    def _by_token(
        self,
        group: Group,
        advantages: tuple[float, ...],
        outputs: Mapping[str, RewardOutput],
        weighed: Mapping[str, float],
    ) -> tuple[tuple[float, ...], ...] | None:
        """Token advantages [G][C_g], where a reward scores single sentences; None where none does."""
        spans = {name: output.spans for name, output in outputs.items() if output.spans}
        if not spans or self.section.shuffle_rewards:
            return None
        ends = [token_ends(self.tokenizer, c.token_ids, c.text) for c in group.completions]
        rows = [(a,) * len(stops) for a, stops in zip(advantages, ends, strict=True)]
        for name, rewards in spans.items():
            bonus = token_advantages([0.0] * len(rows), rewards, ends, weighed.get(name, 0.0))
            rows = [tuple(map(sum, zip(row, more, strict=True))) for row, more in zip(rows, bonus, strict=True)]
        return tuple(rows)

    def _update_means(self, metrics: Sequence[Mapping[str, Values]]) -> None:
        mine: dict[str, list[float]] = defaultdict(list)
        for found in metrics:
            for name, values in found.items():
                mine[name] += [v for v in values if v is not None]
        gathered = distributed.all_gather(dict(mine))
        for name in sorted({name for some in gathered for name in some}):
            known = [v for some in gathered for v in some.get(name, [])]
            if known:
                self._means[name] = EMA_DECAY * self._means[name] + (1 - EMA_DECAY) * sum(known) / len(known)
                self._best_means[name] = max(self._best_means[name], self._means[name])

    def state_dict(self) -> dict[str, Any]:
        return {"means": dict(self._means), "best_means": dict(self._best_means)}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        self._means.update(state_dict["means"])
        self._best_means.update(state_dict["best_means"])
