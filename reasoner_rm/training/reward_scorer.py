"""From the rolled-out groups of a window to scored ones: read, rewarded, mixed, compared within the group."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from reasoner_rm import distributed
from reasoner_rm.config import GrpoSection
from reasoner_rm.data.seeding import stable_seed
from reasoner_rm.models.token_offsets import token_ends
from reasoner_rm.rewards import (
    decoupled_sum,
    has_variance,
    pareto_front,
    parse_spec,
    score_groups,
    weighted_sum,
    weights,
)
from reasoner_rm.rewards.aggregate import Components
from reasoner_rm.rewards.scoring import check_scorers
from reasoner_rm.rewards.sentence import token_advantages
from reasoner_rm.rewards.user_functions import load_function
from reasoner_rm.schema import Belief, BoxSpace, Group, RewardContext, ScoredGroup, SpanReward
from reasoner_rm.tasks import get_task
from reasoner_rm.training.advantages import group_advantages

Sizes: TypeAlias = tuple[tuple[tuple[int, int], tuple[int, int]], ...]

EMA_DECAY = 0.95
"""How much of a running mean a window leaves; it starts at 0, so that one lucky window is no peak."""


class RewardScorer:
    """Knows the mixture, and remembers how well what was logged has gone so far.

    Args:
        scorers: who rewards ask, by name; the section's own functions come on top.

    Raises:
        InputError: a wrong mixture, or one that asks somebody who is not there.
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
        self.mixture = parse_spec(section.rewards)
        self.box_space = box_space
        self.tokenizer = tokenizer
        self.scorers = {**scorers, **{name: load_function(where) for name, where in section.scorers.items()}}
        check_scorers(self.mixture, self.scorers)
        self.seed = seed
        self._running: dict[str, float] = defaultdict(float)
        self._peaks: dict[str, float] = defaultdict(float)

    def __call__(
        self,
        groups: Sequence[Group],
        sizes: Sequence[Sizes],
        beliefs: Sequence[tuple[Belief | None, ...] | None],
        step: int,
        progress: float,
    ) -> list[ScoredGroup]:
        """Score a window: ``sizes`` are each group's images' (original, processed), ``beliefs`` what was heard."""
        notes = [RewardLog() for _ in groups]
        parsed = [tuple(get_task(g.sample.task).parse(c.text, g.sample) for c in g.completions) for g in groups]
        contexts = [
            RewardContext(
                step=step, progress=progress, best_means=self._peaks, beliefs=heard, image_sizes=size,
                box_space=self.box_space, scorers=self.scorers, log=note.log, span_rewards=note.dense,
            )
            for size, heard, note in zip(sizes, beliefs, notes, strict=True)
        ]  # fmt: skip
        with distributed.raise_on_all_ranks():
            every = score_groups(
                self.mixture, list(zip(groups, parsed, contexts, strict=True)), self.section.scorer_timeout
            )
        self._remember(notes)
        weighed = weights(self.mixture, step)
        scored = []
        for group, read, heard, components, note in zip(groups, parsed, beliefs, every, notes, strict=True):
            total = weighted_sum(weighed, components)
            if self.section.shuffle_rewards:
                total = tuple(random.Random(stable_seed(self.seed, group.sample.id, step)).sample(total, len(total)))
            if self.is_informative(components):
                advantages = self._advantages(weighed, components, total)
                tokens = self._by_token(group, advantages, note, weighed)
            else:
                advantages, tokens = (0.0,) * len(total), None
            scored.append(ScoredGroup(group, read, components, total, advantages, heard, note.logged, tokens))
        return scored

    def is_informative(self, components: Components) -> bool:
        """Whether a group differs enough in the component that filters."""
        epsilon = self.section.filter_epsilon
        return epsilon is None or has_variance(components, self.section.filter_metric, epsilon)

    def _advantages(
        self, weighed: Mapping[str, float], components: Components, total: tuple[float, ...]
    ) -> tuple[float, ...]:
        mixing = (
            "sum" if self.section.shuffle_rewards else self.section.reward_aggregation
        )  # the others would see through it
        if mixing == "decoupled":
            total = decoupled_sum(weighed, components)
        advantages = group_advantages(total, self.section.scale_rewards)
        if mixing == "pareto":
            front = pareto_front(weighed, components)
            return tuple(a if best else 0.0 for a, best in zip(advantages, front, strict=True))
        return advantages

    def _by_token(
        self, group: Group, advantages: tuple[float, ...], note: RewardLog, weighed: Mapping[str, float]
    ) -> tuple[tuple[float, ...], ...] | None:
        if not note.spans or self.section.shuffle_rewards:
            return None
        ends = [token_ends(self.tokenizer, c.token_ids, c.text) for c in group.completions]
        rows = [(a,) * len(stops) for a, stops in zip(advantages, ends, strict=True)]
        for name, spans in note.spans.items():
            bonus = token_advantages([0.0] * len(rows), spans, ends, weighed.get(name, 0.0))
            rows = [tuple(map(sum, zip(row, more, strict=True))) for row, more in zip(rows, bonus, strict=True)]
        return tuple(rows)

    def _remember(self, notes: Sequence[RewardLog]) -> None:
        every: dict[str, list[float]] = defaultdict(list)
        for note in notes:
            for name, values in note.logged.items():
                every[name] += [v for v in values if v is not None]
        shared = distributed.all_gather(dict(every))
        for name in sorted({name for some in shared for name in some}):
            known = [v for some in shared for v in some.get(name, [])]
            if known:
                self._running[name] = EMA_DECAY * self._running[name] + (1 - EMA_DECAY) * sum(known) / len(known)
                self._peaks[name] = max(self._peaks[name], self._running[name])

    def state_dict(self) -> dict[str, dict[str, float]]:
        """What was remembered so far, as JSON knows it."""
        return {"running": dict(self._running), "best_means": dict(self._peaks)}

    def load_state_dict(self, state_dict: Mapping[str, Mapping[str, float]]) -> None:
        """Go on from a memory."""
        self._running.update(state_dict["running"])
        self._peaks.update(state_dict["best_means"])


class RewardLog:
    """What the rewards of one group wrote down: values by completion, and values of single sentences."""

    def __init__(self) -> None:
        self.logged: dict[str, tuple[float | None, ...]] = {}
        self.spans: dict[str, Sequence[Sequence[SpanReward]]] = {}

    def log(self, name: str, values: Sequence[float | None]) -> None:
        self.logged[name] = tuple(values)

    def dense(self, name: str, spans: Sequence[Sequence[SpanReward]]) -> None:
        self.spans[name] = spans
