"""From prompts to scored groups: encoding, completions, beliefs of the listener, rewards and advantages."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from reasoner_rm import distributed
from reasoner_rm.config import GrpoSection
from reasoner_rm.listener import Listener
from reasoner_rm.listener.overlap import Beliefs, OverlappedListening
from reasoner_rm.models.prompt_encoder import EncodedPrompt, PromptEncoder
from reasoner_rm.models.weight_export import iter_full_weights
from reasoner_rm.rollout import GenerationRequest, RolloutEngine, SamplingParams
from reasoner_rm.schema import Group, Sample, ScoredGroup
from reasoner_rm.tasks.render import Template, render
from reasoner_rm.training.metric_buffer import MetricBuffer
from reasoner_rm.training.optimization import Optimization
from reasoner_rm.training.reward_scorer import RewardScorer
from reasoner_rm.training.sharding import summon_full_params
from reasoner_rm.training.timers import StepTimer
from reasoner_rm.utils.seeding import stable_seed


@dataclass(frozen=True, slots=True)
class RolloutCollector:
    """How the prompts of a training become scored groups.

    ``on_groups`` gets (step, scored groups of all processes) of the rollout batches that are logged.
    """

    section: GrpoSection
    template: Template
    encoder: PromptEncoder
    engine: RolloutEngine
    listener: Listener | None
    scorer: RewardScorer
    optimization: Optimization
    seed: int
    timer: StepTimer
    metrics: MetricBuffer
    on_groups: Callable[[int, list[ScoredGroup]], None] | None = None

    def sync_engine(self) -> None:
        """Hand the policy's weights to the engine, which may hold its own. Collective: call it on every process."""
        with self.timer("weights"):
            self.engine.update_weights(iter_full_weights(self.optimization.vlm))

    def collect(self, samples: list[Sample], step: int, progress: float) -> list[tuple[ScoredGroup, EncodedPrompt]]:
        """Encoded prompts with their scored groups: completions, beliefs of the listener, rewards. Collective: call it
        on every process.

        Args:
            step: optimiser steps made so far; it seeds the completions.
            progress: how far the training is, 0 to 1.
        """
        with distributed.raise_on_all_ranks(), self.timer("encoding"):
            encoded = [self.encoder.encode(render(s, self.template)) for s in samples]
        with self._weights_gathered():
            groups, beliefs = self.roll_out(samples, step)
        with self.timer("scoring"):
            sizes = [tuple((image.original, image.processed) for image in prompt.images) for prompt in encoded]
            scored = self.scorer(groups, sizes, beliefs, step, progress)
            for values in group_metrics(scored, self.scorer.filter_metric):
                self.metrics.add(**values)
        return list(zip(scored, encoded, strict=True))

    def _weights_gathered(self) -> AbstractContextManager[None]:
        """A context in which the policy's weights are whole, if the engine or the listener computes with them."""
        engines = [self.engine] if self.listener is None else [self.engine, self.listener.engine]
        if any(engine.computes_with(self.optimization.vlm.model) for engine in engines):
            return summon_full_params(self.optimization.model)
        return nullcontext()

    def roll_out(self, samples: list[Sample], step: int) -> tuple[list[Group], list[Beliefs | None]]:
        """A group for each sample, and the listener's beliefs about it."""
        section = self.section
        generations, length = section.lengths(step)
        requests = [
            GenerationRequest(
                render(s, self.template),
                tuple(stable_seed(self.seed, s.id, step, g) for g in range(generations)),
            )
            for s in samples
        ]
        groups: dict[int, Group] = {}
        with distributed.raise_on_all_ranks(), OverlappedListening(self.listener) as listening:
            if not samples:  # dynamic sampling: other processes replace groups, this one has none to replace
                return [], []
            with self.timer("rollout"):
                sampling = SamplingParams(section.temperature, length)
                for i, completions in self.engine.stream(requests, sampling):
                    groups[i] = Group(samples[i], completions)
                    listening.submit(i, groups[i])
            with self.timer("listening"):
                beliefs = listening.beliefs()
        if self.listener is not None:
            self.metrics.add(
                listener_failure_rate=self.listener.failure_rate, listener_overlap=listening.overlap_seconds
            )
        return [groups[i] for i in range(len(samples))], beliefs

    def log_rollouts(self, step: int, scored: list[ScoredGroup]) -> None:
        """Give the groups of all processes to ``on_groups``, if a multiple of ``log_rollouts_every`` is among the steps
        of this rollout batch. Collective: call it on every process."""
        if self.on_groups is not None and -step % self.section.log_rollouts_every < self.section.num_iterations:
            of_all = [s for some in distributed.all_gather(scored) for s in some]
            if distributed.is_main():
                self.on_groups(step, of_all)


def group_metrics(scored: Sequence[ScoredGroup], filter_metric: str) -> Iterator[dict[str, Any]]:
    """What the metrics hold of groups, each value to be averaged by its name.

    Args:
        filter_metric: the component that says whether answers are right.
    """
    for s in scored:
        mean = math.fsum(s.total) / len(s.total)
        yield {
            "reward": mean,
            "reward_std": (math.fsum((t - mean) ** 2 for t in s.total) / max(1, len(s.total) - 1)) ** 0.5,
            "zero_variance": float(max(s.total) - min(s.total) < 1e-9),
            "well_formed": sum(p.well_formed for p in s.parsed) / len(s.parsed),
        }
        if right := [v for v in s.components.get(filter_metric, ()) if v is not None]:
            yield {"all_correct": float(min(right) >= 1.0), "all_incorrect": float(max(right) <= 0.0)}
        for name, values in s.components.items():
            known = [v for v in values if v is not None]
            yield {f"unscorable/{name}": 1 - len(known) / len(values)}
            if known:
                yield {f"reward/{name}": math.fsum(known) / len(known)}
        for name, values in s.metrics.items():
            if known := [v for v in values if v is not None]:
                yield {name: math.fsum(known) / len(known)}
        for completion in s.group.completions:
            yield {"completion_length": len(completion.token_ids), "truncated": completion.finish_reason == "length"}
