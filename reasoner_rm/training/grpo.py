"""GRPO over groups: a window is rolled out, heard, scored and then trained on.

`transformers.Trainer` fetches a whole accumulation window at once (`get_batch_samples`); that is where the rollout
happens, so that the engine sees a real batch. Each micro-batch of the window is then trained on, μ times over.
"""

from __future__ import annotations

import copy
import dataclasses
import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from reasoner_rm.config import GrpoSection
from reasoner_rm.data.seeding import stable_seed
from reasoner_rm.errors import InputError
from reasoner_rm.listener import Listener
from reasoner_rm.policy.loading import Vlm
from reasoner_rm.policy.logps import GroupLogps, repeated_logps, shared_prefix_logps
from reasoner_rm.policy.prompts import EncodedPrompt, PromptBatch
from reasoner_rm.rewards import get_reward, mix, resolve, score_components
from reasoner_rm.rollout import Request, RolloutEngine, Sampling
from reasoner_rm.schema import Group, RewardContext, Sample, Scored
from reasoner_rm.tasks import get_task
from reasoner_rm.tasks.render import Template, render
from reasoner_rm.training.advantages import group_advantages
from reasoner_rm.training.losses import LossInputs, grpo_loss
from reasoner_rm.training.trainer import Log, SampleTrainer


@dataclass(slots=True)
class MicroBatch:
    """What one backward pass sees: scored groups, their prompts, and log-probabilities that do not change over μ."""

    groups: list[Scored]
    prompts: list[EncodedPrompt]
    old: torch.Tensor | None = None
    reference: torch.Tensor | None = None

    @property
    def token_ids(self) -> list[list[tuple[int, ...]]]:
        return [[c.token_ids for c in scored.group.completions] for scored in self.groups]


class GroupTrainer(SampleTrainer):
    """GRPO with groups as the unit of work: a group lives on one rank, from its rollout to its loss.

    Args:
        engine: rolls out the policy that is being trained.
        listener: scores the reasoning for `listener_belief`; needed when that reward has a weight.
        on_groups: called with (step, scored groups) every ``section.rollouts_every`` steps.
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
        on_groups: Callable[[int, list[Scored]], None] | None = None,
    ):
        self.section = section
        self.engine = engine
        self.listener = listener
        self.rewards = resolve(section.rewards)
        self.on_groups = on_groups
        self.run_seed = seed
        self.per_window = section.prompts_per_device * section.accumulation
        needy = [n for n in self.rewards if get_reward(n).needs_listener]
        if needy and listener is None:
            raise InputError(f"reward {needy[0]} needs a listener", remedy="set listener.path, or choose other rewards")
        if section.both_orders:
            samples = [twin for s in samples for twin in (s, _exchanged(s))]
        if len(samples) < self.per_window:
            raise InputError(
                f"{len(samples)} samples do not fill one step of {self.per_window} prompts",
                remedy="lower grpo.prompts_per_device or grpo.accumulation, or bring more data",
            )
        self.reference = copy.copy(vlm)
        if section.beta > 0:
            self.reference.model = copy.deepcopy(vlm.model).requires_grad_(False).eval()
        self._window: list[MicroBatch] = []
        super().__init__(
            vlm,
            template,
            samples,
            log=log,
            title="grpo",
            per_device_train_batch_size=section.prompts_per_device,
            gradient_accumulation_steps=section.accumulation,
            learning_rate=section.learning_rate,
            num_train_epochs=section.epochs,
            max_steps=section.max_steps,
            warmup_steps=section.warmup_ratio,
            weight_decay=section.weight_decay,
            max_grad_norm=section.max_grad_norm,
            lr_scheduler_type=section.lr_scheduler_type,
            gradient_checkpointing=section.gradient_checkpointing,
            bf16=section.bf16,
            seed=seed,
        )

    # --- a window: fetch, roll out, hear, score -----------------------------------------------------------------

    def _get_train_sampler(self, train_dataset: Any = None) -> WindowSampler:
        section, block = self.section, 2 if self.section.both_orders else 1
        return WindowSampler(len(self.train_dataset), self.per_window, section.num_iterations, self.run_seed, block)

    def get_batch_samples(
        self, epoch_iterator: Iterator[list[Sample]], num_batches: int, device: Any
    ) -> tuple[list, None]:
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        if self.state.global_step % self.section.num_iterations == 0:
            self._window = self._prepare(batches)
        return self._window, None

    def _prepare(self, batches: list[list[Sample]]) -> list[MicroBatch]:
        samples = [s for batch in batches for s in batch]
        groups = self._roll_out(samples)
        scored = iter(self._score(groups))
        window = []
        for batch in batches:
            encoded = [self.encoder.encode(render(s, self.template)) for s in batch]
            window.append(MicroBatch([next(scored) for _ in batch], encoded))
        with torch.no_grad():
            for micro in window:
                prompts = self.encoder.batch(micro.prompts)
                if self.section.num_iterations > 1:
                    micro.old = self._logps(self.vlm, prompts, micro).logps
                if self.section.beta > 0:
                    micro.reference = self._logps(self.reference, prompts, micro).logps
        return window

    def _roll_out(self, samples: list[Sample]) -> list[Group]:
        section, step = self.section, self.state.global_step
        requests = [
            Request(
                render(s, self.template),
                tuple(stable_seed(self.run_seed, s.id, step, g) for g in range(section.num_generations)),
            )
            for s in samples
        ]
        completions = self.engine.generate(requests, Sampling(section.temperature, section.max_completion_length))
        return [Group(s, c) for s, c in zip(samples, completions, strict=True)]

    def _score(self, groups: list[Group]) -> list[Scored]:
        beliefs: list[Any] = [None] * len(groups)
        if self.listener is not None:
            beliefs = self.listener.beliefs(
                [g.sample for g in groups], [[c.text for c in g.completions] for g in groups]
            )
        progress = self.state.global_step / max(1, self.state.max_steps)
        scored = []
        for group, belief in zip(groups, beliefs, strict=True):
            task = get_task(group.sample.task)
            parsed = tuple(task.parse(c.text, group.sample) for c in group.completions)
            context = RewardContext(step=self.state.global_step, progress=progress, beliefs=belief)
            components = score_components(self.rewards, group, parsed, context)
            total = mix(self.rewards, components)
            if self.section.shuffle_rewards:
                total = tuple(
                    random.Random(stable_seed(self.run_seed, group.sample.id, context.step)).sample(total, len(total))
                )
            advantages = group_advantages(total, self.section.scale_rewards)
            scored.append(Scored(group, parsed, components, total, advantages, belief))
        self._gather_window(scored)
        if self.on_groups is not None and self.state.global_step % self.section.rollouts_every == 0:
            self.on_groups(self.state.global_step, scored)
        return scored

    def _gather_window(self, scored: list[Scored]) -> None:
        for s in scored:
            mean = math.fsum(s.total) / len(s.total)
            self.gather(
                reward=mean,
                reward_std=(math.fsum((t - mean) ** 2 for t in s.total) / max(1, len(s.total) - 1)) ** 0.5,
                zero_variance=float(max(s.total) - min(s.total) < 1e-9),
                well_formed=sum(p.well_formed for p in s.parsed) / len(s.parsed),
            )
            for name, values in s.components.items():
                known = [v for v in values if v is not None]
                self.gather(**{f"unscorable/{name}": 1 - len(known) / len(values)})
                if known:
                    self.gather(**{f"reward/{name}": math.fsum(known) / len(known)})
            for completion in s.group.completions:
                self.gather(completion_length=len(completion.token_ids), truncated=completion.finish_reason == "length")

    # --- a micro-batch: log-probabilities and loss ---------------------------------------------------------------

    def _logps(self, vlm: Vlm, prompts: PromptBatch, micro: MicroBatch, entropy: bool = False) -> GroupLogps:
        share = self.section.shared_prefix and not self.section.gradient_checkpointing
        form = shared_prefix_logps if share else repeated_logps
        return form(vlm, prompts, micro.token_ids, self.section.temperature, entropy)

    def compute_loss(self, model: Any, inputs: MicroBatch, return_outputs: bool = False, **_: Any) -> torch.Tensor:
        section = self.section
        out = self._logps(self.vlm, self.encoder.batch(inputs.prompts), inputs, entropy=True)
        completions = [c for s in inputs.groups for c in s.group.completions]
        mask = out.mask
        if section.mask_truncated_completions:
            whole = torch.tensor([c.finish_reason == "stop" for c in completions], device=mask.device)
            mask = mask * whole[:, None]
        result = grpo_loss(
            LossInputs(
                logps=out.logps,
                old_logps=out.logps.detach() if inputs.old is None else inputs.old,
                ref_logps=inputs.reference,
                advantages=torch.tensor([a for s in inputs.groups for a in s.advantages], device=mask.device),
                mask=mask,
                weights=torch.tensor(
                    [s.group.sample.weight for s in inputs.groups for _ in s.total], device=mask.device
                ),
            ),
            beta=section.beta,
            clip_low=section.epsilon,
            clip_high=section.epsilon if section.epsilon_high is None else section.epsilon_high,
            loss_type=section.loss_type,
            max_completion=section.max_completion_length,
        )
        assert out.entropy is not None
        sampled, rows = self._sampler_logps(completions, out.mask), out.mask.bool()
        self.gather(
            entropy=float(out.entropy.sum() / out.mask.sum()),
            sampler_gap=float((out.logps.detach() - sampled)[rows].abs().mean()),
            **{k: float(v) for k, v in result.metrics.items()},
        )
        return result.loss

    @staticmethod
    def _sampler_logps(completions: Sequence[Any], mask: torch.Tensor) -> torch.Tensor:
        out = torch.zeros(mask.shape, device=mask.device)
        for row, completion in enumerate(completions):
            out[row, : len(completion.logprobs)] = torch.tensor(completion.logprobs)
        return out


class WindowSampler(torch.utils.data.Sampler[int]):
    """Whole windows of shuffled indices, each ``repeats`` times; what does not fill a window waits for the next
    epoch, which is shuffled anew. Indices of one ``block`` (neighbours in the dataset) stay together."""

    def __init__(self, size: int, window: int, repeats: int, seed: int, block: int = 1):
        self.size, self.window, self.repeats, self.seed, self.block = size, window, repeats, seed, block
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        blocks = list(range(0, self.size, self.block))
        random.Random(stable_seed(self.seed, "order", self.epoch)).shuffle(blocks)
        order = [i for start in blocks for i in range(start, start + self.block)]
        for start in range(0, self.size - self.window + 1, self.window):
            for _ in range(self.repeats):
                yield from order[start : start + self.window]

    def __len__(self) -> int:
        return self.size // self.window * self.window * self.repeats


def _exchanged(sample: Sample) -> Sample:
    """The same comparison the other way round, under an id of its own: its rollouts have their own seeds."""
    return dataclasses.replace(sample.swapped(), id=f"{sample.id}~swapped")
