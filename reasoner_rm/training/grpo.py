"""GRPO over groups (arXiv 2402.03300): the G completions of a prompt stay on one process, from rollout to loss."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from reasoner_rm import distributed
from reasoner_rm.config import GrpoSection, RunSection
from reasoner_rm.errors import InputError
from reasoner_rm.listener import Listener
from reasoner_rm.models.group_logprobs import GroupLogprobs
from reasoner_rm.models.loading import Vlm
from reasoner_rm.models.lora import disable_adapter
from reasoner_rm.models.packing import forward_groups, forward_repeated
from reasoner_rm.models.prompt_encoder import PromptEncoder
from reasoner_rm.rollout import RolloutEngine
from reasoner_rm.schema import Sample, ScoredGroup
from reasoner_rm.tasks.render import Template
from reasoner_rm.training.alarms import Alarms
from reasoner_rm.training.batch_sampler import BatchSampler, with_swapped
from reasoner_rm.training.checkpoints import Checkpoints
from reasoner_rm.training.dynamic_sampling import DynamicSampler
from reasoner_rm.training.evaluation import EvalFn
from reasoner_rm.training.losses import LossInputs, LossNormalizer, grpo_loss, importance_sampling_correction
from reasoner_rm.training.micro_batches import FixedLogprobs, MicroBatch, make_micro_batches
from reasoner_rm.training.optimization import Optimization
from reasoner_rm.training.packed_batch import Pack
from reasoner_rm.training.reference import make_reference, update_reference
from reasoner_rm.training.reward_scorer import RewardScorer, reward_mixture
from reasoner_rm.training.rollout_collector import RolloutCollector
from reasoner_rm.training.sampler_check import check_agreement
from reasoner_rm.training.session import Log, Stateful, TrainingSession


class GRPOTrainer:
    """Trains a policy in place with group relative policy optimisation.

    Args:
        engine: rolls out the policy that is being trained.
        encoder: converts prompts to tokens and pixels; with the engine's own, each image is processed once.
        listener: scores the reasoning for `listener_belief`; needed when that reward has a weight.
        scorers: models that rewards call, by name, beside those that the section names.
        on_groups: called with (step, scored groups of all processes) every ``section.log_rollouts_every`` steps.
        max_logprob_gap: the greatest mean difference between the engine's log-probabilities and the trainer's (nats),
            on the first update of each rollout batch.
        run, checkpoints, eval_fn, log: see :class:`TrainingSession`.

    Raises:
        InputError: settings that do not go together, or too few samples.
    """

    def __init__(
        self,
        vlm: Vlm,
        template: Template,
        samples: Sequence[Sample],
        section: GrpoSection,
        *,
        engine: RolloutEngine,
        listener: Listener | None,
        log: Log,
        seed: int,
        encoder: PromptEncoder | None = None,
        on_groups: Callable[[int, list[ScoredGroup]], None] | None = None,
        scorers: Mapping[str, Callable[..., Any]] | None = None,
        checkpoints: Checkpoints | None = None,
        run: RunSection | None = None,
        eval_fn: EvalFn | None = None,
        max_logprob_gap: float = math.inf,
    ):
        self.vlm, self.section, self.listener, self.max_logprob_gap = vlm, section, listener, max_logprob_gap
        self.encoder = encoder or PromptEncoder(vlm)
        self.scorer = RewardScorer(section, vlm.family.box_space, vlm.tokenizer, scorers or {}, seed)
        world_size, block = distributed.world_size(), 2 if section.both_orders else 1
        self.samples = in_orders(section, samples)
        check_settings(section, self.samples, has_listener=listener is not None, processes=world_size)
        steps = grpo_steps(section, len(self.samples))
        self.sampler = BatchSampler(
            len(self.samples),
            prompts_per_batch(section) * world_size,
            seed,
            block=block,
            batches=-(-steps // section.num_iterations),
            share=(distributed.rank(), world_size),
        )
        self.reference = make_reference(vlm, section)
        self.optimization = Optimization(
            vlm, section, run or RunSection(), micro_batch_size=section.prompts_per_device, steps=steps, seed=seed
        )
        alarms = Alarms(section.alarms, f"reward/{self.scorer.filter_metric}")
        components: dict[str, Stateful] = {"scorer": self.scorer, "alarms": alarms}
        self.dynamic_sampler = None
        if section.max_resample_ratio > 0:
            cap = int(section.max_resample_ratio * prompts_per_batch(section) * world_size)
            self.dynamic_sampler = DynamicSampler(self.samples, block, cap, seed)
            components["dynamic_sampler"] = self.dynamic_sampler
        if listener is not None:
            components["listener"] = listener
        self.session = TrainingSession(
            self.optimization,
            section,
            run or RunSection(),
            steps=steps,
            updates=section.num_iterations,
            title="grpo",
            log=log,
            metadata={"prompts_a_step": self.sampler.batch_size, "samples": len(self.samples)},
            checkpoints=checkpoints,
            eval_fn=eval_fn,
            components=components,
            models={"reference": self.reference} if section.sync_ref_model else {},
            alarms=lambda step, metrics: alarms.fatal(alarms.update(step, metrics)),
        )
        self.collector = RolloutCollector(
            section, template, self.encoder, engine, listener, self.scorer, self.optimization, seed,
            self.session.timer, self.session.metrics, on_groups,
        )  # fmt: skip

    # --- the loop ---------------------------------------------------------------------------------------------------

    def train(self, *, resume: Path | None = None) -> None:
        """Train to the last step. See :meth:`TrainingSession.running` for ``resume`` and what it raises."""
        session, optimization, timer = self.session, self.optimization, self.session.timer
        with session.running(resume):
            while not session.finished:
                # Collect: prompts -> completions -> beliefs -> rewards -> advantages, then what no update changes.
                batch = self.collect(session.batch_number)
                for update in session.updates_left:
                    optimization.model.train()
                    loss = torch.zeros((), device=self.vlm.device)
                    passes = [(pack, fixed, micro.normalizer) for micro in batch for pack, fixed in micro.packs]
                    for i, (pack, fixed, normalizer) in enumerate(passes, start=1):
                        with optimization.accumulate(last=i == len(passes)):
                            with timer("forward"):
                                part = self.loss(pack, fixed, normalizer) / len(batch)
                            with timer("backward"):
                                optimization.backward(part)
                        loss += part.detach()
                    if update == 0:
                        check_agreement(session.metrics.mean("sampler_logprob_gap"), self.max_logprob_gap)
                    with timer("optimiser"):
                        result = optimization.step()
                        self.sync_reference(session.step + 1)
                    session.end_step(loss, result)  # logs, evaluates, looks for alarms
                session.end_batch()  # saves, stops

    def collect(self, number: int) -> tuple[MicroBatch, ...]:
        """Roll out, score and encode this process's part of a rollout batch. Collective: call it on every process."""
        session, section, step = self.session, self.section, self.session.step
        samples = [self.samples[i] for i in self.sampler[number]]
        if number + 1 < len(self.sampler):
            self.encoder.prefetch(image for i in self.sampler[number + 1] for image in self.samples[i].images)
        self.collector.sync_engine()
        progress = step / max(1, session.steps)
        collected = self.collector.collect(samples, step, progress)
        if self.dynamic_sampler is not None:
            collected, shares = self.dynamic_sampler.fill(
                collected,
                [s.id for s in samples],
                lambda more: self.collector.collect(more, step, progress),
                lambda pair: self.scorer.is_informative(pair[0].components),
            )
            session.metrics.add(**shares)
        self.collector.log_rollouts(step, [scored for scored, _ in collected])
        self.collector.engine.release_memory()
        size = section.prompts_per_device
        micro_batches = [collected[i : i + size] for i in range(0, len(collected), size)]
        self.optimization.model.eval()  # the policy sampled without dropout
        with torch.no_grad(), session.timer("fixed_logprobs"):
            return make_micro_batches(micro_batches, section, self.fixed_logprobs, lockstep=self.optimization.lockstep)

    @functools.cached_property
    def has_dropout(self) -> bool:
        """Whether a forward pass in training mode has other log-probabilities than the policy that sampled."""
        return any(m.p > 0 for m in self.vlm.model.modules() if isinstance(m, torch.nn.Dropout))

    def fixed_logprobs(self, pack: Pack) -> FixedLogprobs:
        """Before the first update: the sampling policy's log-probabilities, where an update needs them, and the
        reference's."""
        section, old, reference = self.section, None, None
        if section.num_iterations > 1 or section.importance_sampling_correction is not None or self.has_dropout:
            old = self.logprobs(self.optimization.module, pack).logprobs
        if section.beta > 0:
            with disable_adapter(self.vlm), self.optimization.accelerator.autocast():  # in the policy's precision
                reference = self.logprobs(self.reference, pack).logprobs
        return FixedLogprobs(old, reference)

    def logprobs(self, model: Any, pack: Pack, entropy: bool = False) -> GroupLogprobs:
        """Log-probabilities [B, C] of a pack's completions under a model."""
        form = forward_groups if self.section.shared_prefix else forward_repeated
        prompts = self.encoder.batch(pack.prompts)
        found: GroupLogprobs = model(
            prompts, pack.token_ids, form=form, temperature=self.section.temperature, entropy=entropy
        )
        return found

    def loss(self, pack: Pack, fixed: FixedLogprobs, normalizer: LossNormalizer) -> torch.Tensor:
        """A pack's part of the loss of its micro-batch."""
        section, device = self.section, self.vlm.device
        out = self.logprobs(self.optimization.model, pack, entropy=True)
        mask = out.mask.bool()
        sampled = pack.sampler_logprobs(out.mask)
        old = out.logprobs.detach() if fixed.old is None else fixed.old
        mode = section.importance_sampling_correction
        loss_tokens = pack.loss_tokens(section.mask_truncated_completions)
        has_loss = torch.tensor(loss_tokens, device=device).bool()
        result = grpo_loss(
            LossInputs(
                logprobs=out.logprobs,
                old_logprobs=old,
                ref_logprobs=fixed.reference,
                advantages=pack.advantages(device),
                mask=out.mask * has_loss[:, None],
                weights=pack.weights(device),
                correction=None if mode is None else importance_sampling_correction(old, sampled, mask, mode),
            ),
            beta=section.beta,
            clip_low=section.epsilon,
            clip_high=section.epsilon if section.epsilon_high is None else section.epsilon_high,
            loss_type=section.loss_type,
            max_completion=section.lengths(self.session.step)[1],
            normalizer=normalizer,
        )
        if not pack.dummy:
            assert out.entropy is not None
            metrics, tokens = self.session.metrics, int(mask.sum())
            metrics.add(tokens, entropy=float(out.entropy.sum() / tokens))
            gaps = (old - sampled)[mask & ~sampled.isnan()].abs()
            if len(gaps):
                metrics.add(
                    len(gaps), sampler_logprob_gap=float(gaps.mean()), sampler_logprob_gap_max=float(gaps.max())
                )
            if any(loss_tokens):
                metrics.add(sum(loss_tokens), **{name: float(value) for name, value in result.metrics.items()})
        return result.loss

    def sync_reference(self, step: int) -> None:
        """Let the reference follow the policy, if that is due after this step."""
        section = self.section
        if section.sync_ref_model and step % section.ref_model_sync_steps == 0:
            update_reference(self.reference, self.optimization.module, section.ref_model_mixup_alpha)


def check_settings(section: GrpoSection, samples: Sequence[Sample], *, has_listener: bool, processes: int) -> None:
    """Check the settings of a training before anything is loaded.

    Args:
        samples: as they are trained on, see :func:`in_orders`.
        processes: the number of processes that train.

    Raises:
        InputError: settings that do not go together, or too few samples.
    """
    per_batch = prompts_per_batch(section)
    dependent = [name for name, term in reward_mixture(section).items() if term.reward.needs_listener]
    if dependent and not has_listener:
        raise InputError(f"reward {dependent[0]} needs a listener", remedy="set listener.path, or choose other rewards")
    if section.both_orders and per_batch % 2:
        raise InputError(
            f"both_orders needs an even number of prompts a step, not {per_batch}",
            remedy="change grpo.prompts_per_device or grpo.gradient_accumulation_steps",
        )
    if len(samples) < per_batch * processes:
        raise InputError(
            f"{len(samples)} samples do not fill one step of {per_batch * processes} prompts",
            remedy="lower grpo.prompts_per_device or grpo.gradient_accumulation_steps, or bring more data",
        )
    if section.max_resample_ratio > 0 and section.filter_epsilon is None:
        raise InputError("grpo.max_resample_ratio replaces what is filtered", remedy="set grpo.filter_epsilon too")


def in_orders(section: GrpoSection, samples: Sequence[Sample]) -> list[Sample]:
    """The samples in the order of the data; with `both_orders` every comparison twice, its candidates exchanged."""
    return with_swapped(samples) if section.both_orders else list(samples)


def prompts_per_batch(section: GrpoSection) -> int:
    """Prompts of a rollout batch on each process."""
    return section.prompts_per_device * section.gradient_accumulation_steps


def grpo_steps(section: GrpoSection, samples: int) -> int:
    """How many optimiser steps there are: as many as the section says, or its epochs hold whole rollout batches."""
    if section.last_step > 0:
        return section.last_step
    batches = samples // (prompts_per_batch(section) * distributed.world_size())
    return max(1, math.ceil(section.epochs * batches)) * section.num_iterations
