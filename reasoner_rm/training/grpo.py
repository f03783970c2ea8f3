"""GRPO over groups: a window is rolled out, heard, scored and then trained on.

`transformers.Trainer` fetches a whole accumulation window at once (`get_batch_samples`); that is where the rollout
happens, so that the engine sees a real batch. Each micro-batch of the window is then trained on, μ times over.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch

from reasoner_rm import distributed
from reasoner_rm.config import GrpoSection, RunSection
from reasoner_rm.errors import InputError
from reasoner_rm.listener import Listener
from reasoner_rm.listener.base import BaseListener
from reasoner_rm.models.group_logprobs import GroupLogprobs
from reasoner_rm.models.loading import Vlm
from reasoner_rm.models.lora import disable_adapter
from reasoner_rm.models.packing import forward_groups, forward_repeated
from reasoner_rm.models.prompt_encoder import EncodedPrompt, PromptEncoder
from reasoner_rm.models.weight_export import iter_full_weights
from reasoner_rm.rollout import RolloutEngine
from reasoner_rm.rollout.base import WeightSyncEngine
from reasoner_rm.schema import Sample, ScoredGroup
from reasoner_rm.tasks.render import Template
from reasoner_rm.training.alarms import Alarms
from reasoner_rm.training.batch_sampler import with_swapped
from reasoner_rm.training.checkpoints import Checkpoints
from reasoner_rm.training.dynamic_sampling import DynamicSampler
from reasoner_rm.training.evaluation import EvalFn
from reasoner_rm.training.losses import LossInputs, LossNormalizer, grpo_loss, importance_sampling_correction
from reasoner_rm.training.micro_batches import MicroBatch, loss_tokens, make_micro_batches
from reasoner_rm.training.packed_batch import PackedBatch
from reasoner_rm.training.reference import Following, make_reference
from reasoner_rm.training.reward_scorer import RewardScorer
from reasoner_rm.training.rollout_collector import RolloutCollector
from reasoner_rm.training.sampler_check import check_agreement
from reasoner_rm.training.sharding import summon_full_params
from reasoner_rm.training.trainer import Log, SampleTrainer


def grpo_steps(section: GrpoSection, samples: int) -> int:
    """How many optimiser steps there are: as many as the section says, or its epochs hold whole windows."""
    window = section.prompts_per_device * section.gradient_accumulation_steps * distributed.world_size()
    if section.last_step > 0:
        return section.last_step
    return max(1, math.ceil(section.epochs * (samples // window))) * section.num_iterations


class GroupTrainer(SampleTrainer):
    """GRPO with groups as the unit of work: a group lives on one rank, from its rollout to its loss.

    Args:
        engine: rolls out the policy that is being trained.
        encoder: turns prompts into tokens and pixels; hand over the engine's, and each image is processed once.
        listener: scores the reasoning for `listener_belief`; needed when that reward has a weight.
        scorers: who rewards ask by name, beside those that the section names.
        on_groups: called with (step, scored groups) every ``section.log_rollouts_every`` steps.
        max_logprob_gap: how far the engine's log-probabilities may be from the trainer's in the mean (nats), on the
            first
            micro-batch of each window.
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
        measure: EvalFn | None = None,
        max_logprob_gap: float = math.inf,
    ):
        self.section = section
        self.max_logprob_gap = max_logprob_gap
        self.listener = listener
        self.scores = RewardScorer(section, vlm.family.box_space, vlm.tokenizer, scorers or {}, seed)
        self.per_window = section.prompts_per_device * section.gradient_accumulation_steps
        needy = [name for name, term in self.scores.mixture.items() if term.reward.needs_listener]
        if needy and listener is None:
            raise InputError(f"reward {needy[0]} needs a listener", remedy="set listener.path, or choose other rewards")
        if section.both_orders:
            if self.per_window % 2:
                raise InputError(
                    f"both_orders needs an even number of prompts a step, not {self.per_window}",
                    remedy="change grpo.prompts_per_device or grpo.gradient_accumulation_steps",
                )
            samples = with_swapped(samples)
        world = distributed.world_size()
        if len(samples) < self.per_window * world:
            raise InputError(
                f"{len(samples)} samples do not fill one step of {self.per_window * world} prompts",
                remedy="lower grpo.prompts_per_device or grpo.gradient_accumulation_steps, or bring more data",
            )
        self.reference = make_reference(vlm, section)
        self.alarms = Alarms(section.alarms, f"reward/{section.filter_metric}")
        block = 2 if section.both_orders else 1
        self.replacements = None
        if section.max_resample_ratio > 0:
            if section.filter_epsilon is None:
                raise InputError(
                    "grpo.max_resample_ratio replaces what is filtered", remedy="set grpo.filter_epsilon too"
                )
            cap = int(section.max_resample_ratio * self.per_window * world)
            self.replacements = DynamicSampler(samples, block, cap, seed)
        self._window: list[MicroBatch] = []
        self._unproven = False
        super().__init__(
            vlm,
            template,
            samples,
            section,
            batch_size=section.prompts_per_device,
            steps=grpo_steps(section, len(samples)),
            repeats=section.num_iterations,
            block=block,
            drop_last=True,
            log=log,
            title="grpo",
            seed=seed,
            encoder=encoder,
            checkpoints=checkpoints,
            run=run,
            measure=measure,
        )
        self.answering = RolloutCollector(
            section, template, self.encoder, engine, listener, self.scores, seed, self.phases,
            whole=lambda: summon_full_params(self.model_wrapped), gather=self.gather, on_groups=on_groups,
        )  # fmt: skip
        if section.sync_ref_model:
            self.add_callback(Following(self.reference, section.ref_model_mixup_alpha, section.ref_model_sync_steps))

    # --- what a state holds beside the policy ---------------------------------------------------------------------

    def progress(self) -> dict[str, Any]:
        return {
            "scores": self.scores.state_dict(),
            "alarms": self.alarms.state_dict(),
            "replacements": self.replacements.place if self.replacements else 0,
            "listeners": distributed.all_gather(self._listener_memory()),
        }

    def load_state_dict(self, progress: dict[str, Any]) -> None:
        self.scores.load_state_dict(progress["scores"])
        self.alarms.load_state_dict(progress["alarms"])
        if self.replacements:
            self.replacements.place = progress["replacements"]
        if isinstance(self.listener, BaseListener):
            self.listener.load_state_dict(progress["listeners"][distributed.rank()])

    def _listener_memory(self) -> dict[str, Any]:
        return self.listener.state_dict() if isinstance(self.listener, BaseListener) else {}

    def extra_models(self) -> dict[str, torch.nn.Module]:
        return {"reference": self.reference} if self.section.sync_ref_model else {}

    def saw(self, step: int, metrics: Mapping[str, float]) -> list[str]:
        return self.alarms.fatal(self.alarms.look(step, metrics))

    # --- a window: fetch, answer, cut into parts -----------------------------------------------------------------

    def get_batch_samples(
        self, epoch_iterator: Iterator[list[Sample]], num_batches: int, device: Any
    ) -> tuple[list, None]:
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        if self.state.global_step % self.section.num_iterations == 0:
            self._window = self._prepare(batches)
            self._unproven = True
        return self._window, None

    def _prepare(self, batches: list[list[Sample]]) -> list[MicroBatch]:
        samples = [s for batch in batches for s in batch]
        if isinstance(self.answering.engine, WeightSyncEngine):
            with self.phases("weights"):
                self.answering.engine.update_weights(iter_full_weights(self.vlm))
        answered = self._answer(samples)
        if self.replacements is not None:
            answered, shares = self.replacements.fill(
                answered,
                [s.id for s in samples],
                self._answer,
                lambda pair: self.scores.is_informative(pair[0].components),
            )
            self.gather(**shares)
        ready = iter(answered)
        window = make_micro_batches([[next(ready) for _ in batch] for batch in batches], self.section, self.lockstep)
        self.model.eval()  # what the policy sampled with had no dropout either
        with torch.no_grad(), self.phases("reference"):
            for part in (part for micro in window for part in micro.parts):
                if self.section.num_iterations > 1 or self.section.importance_sampling_correction is not None:
                    part.old = self._logprobs(self.model, part).logprobs
                if self.section.beta > 0:
                    with disable_adapter(self.vlm):
                        part.reference = self._logprobs(self.reference, part).logprobs
        return window

    def _answer(self, samples: list[Sample]) -> list[tuple[ScoredGroup, EncodedPrompt]]:
        step = self.state.global_step
        return self.answering.answer(samples, step, step / max(1, self.state.max_steps))

    # --- an update: log-probabilities and loss, part by part -----------------------------------------------------

    def _logprobs(self, model: Any, part: PackedBatch, entropy: bool = False) -> GroupLogprobs:
        form = forward_groups if self.section.shared_prefix else forward_repeated
        prompts = self.encoder.batch(part.prompts)
        return model(prompts, part.token_ids, self.section.temperature, entropy, form)

    def training_step(self, model: Any, inputs: MicroBatch, num_items_in_batch: Any = None) -> torch.Tensor:
        """Backward after each part: no more than one part's activations exist at a time."""
        model.train()
        total = torch.zeros((), device=self.vlm.device)
        for part in inputs.parts:
            with contextlib.nullcontext() if part is inputs.parts[-1] else self.no_sync(model):
                with self.phases("forward"), self.compute_loss_context_manager():
                    loss = self._part_loss(model, part, inputs.whole) / self.current_gradient_accumulation_steps
                self.backward(loss)
            total += loss.detach()
        if self._unproven:
            self._unproven = False
            gaps = [
                gap for some in distributed.all_gather(self.gathered.get("sampler_logprob_gap", [])) for gap in some
            ]
            check_agreement(gaps, self.max_logprob_gap)
        return total

    def _part_loss(self, model: Any, part: PackedBatch, whole: LossNormalizer) -> torch.Tensor:
        section, device = self.section, self.vlm.device
        out = self._logprobs(model, part, entropy=True)
        rows = out.mask.bool()
        sampled = part.sampler_logprobs(out.mask)
        old = out.logprobs.detach() if part.old is None else part.old
        mode = section.importance_sampling_correction
        result = grpo_loss(
            LossInputs(
                logprobs=out.logprobs,
                old_logprobs=old,
                ref_logprobs=part.reference,
                advantages=part.advantages(device),
                mask=out.mask * torch.tensor(loss_tokens(part, section), device=device).bool()[:, None],
                weights=part.weights(device),
                correction=None if mode is None else importance_sampling_correction(old, sampled, rows, mode),
            ),
            beta=section.beta,
            clip_low=section.epsilon,
            clip_high=section.epsilon if section.epsilon_high is None else section.epsilon_high,
            loss_type=section.loss_type,
            max_completion=section.lengths(self.state.global_step)[1],
            whole=whole,
        )
        assert out.entropy is not None
        if part.dummy:
            return result.loss
        gaps = (old - sampled)[rows].abs()
        self.gather(
            entropy=float(out.entropy.sum() / out.mask.sum()),
            sampler_logprob_gap=float(gaps.mean()),
            sampler_logprob_gap_max=float(gaps.max()),
            **{k: float(v) for k, v in result.metrics.items()},
        )
        return result.loss
