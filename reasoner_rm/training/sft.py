"""Supervised fine-tuning on samples' targets: the cold start, and the stage after rejection sampling."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from reasoner_rm import distributed
from reasoner_rm.config import RunSection, SftSection
from reasoner_rm.errors import InputError
from reasoner_rm.log import warn_once
from reasoner_rm.models.box_converter import BoxConverter
from reasoner_rm.models.group_logprobs import GroupLogprobs
from reasoner_rm.models.loading import Vlm
from reasoner_rm.models.packing import forward_groups
from reasoner_rm.models.prompt_encoder import EncodedPrompt, PromptEncoder
from reasoner_rm.schema import Sample
from reasoner_rm.tasks.render import Template, render
from reasoner_rm.training.batch_sampler import BatchSampler
from reasoner_rm.training.checkpoints import Checkpoints
from reasoner_rm.training.evaluation import EvalFn
from reasoner_rm.training.optimization import Optimization
from reasoner_rm.training.session import Log, TrainingSession

MAX_REPEATS = 50
"""Rows that are seen more often than this are overfitted: 150 steps on the 8 rows that a weak model's rejection
sampling had left took its accuracy from 60 % to 48."""


@dataclass(frozen=True, slots=True)
class SftExample:
    """A sample as the policy reads it, and the token ids that it should write."""

    prompt: EncodedPrompt
    target: tuple[int, ...]
    weight: float


class SFTTrainer:
    """Trains a policy in place with the cross-entropy of the targets' tokens, the end of turn included.

    The loss of a step is one mean over all target tokens of the step, on all processes, each multiplied by its sample's
    weight: it does not depend on how they are divided into micro-batches.

    Args:
        run, checkpoints, eval_fn, log, title: see :class:`TrainingSession`.

    Raises:
        InputError: a sample without a usable target.
    """

    def __init__(
        self,
        vlm: Vlm,
        template: Template,
        samples: Sequence[Sample],
        section: SftSection,
        *,
        log: Log,
        seed: int,
        title: str = "sft",
        encoder: PromptEncoder | None = None,
        checkpoints: Checkpoints | None = None,
        run: RunSection | None = None,
        eval_fn: EvalFn | None = None,
    ):
        for sample in samples:
            target_ids(vlm, sample)
        self.vlm, self.template, self.samples, self.section = vlm, template, samples, section
        self.encoder = encoder or PromptEncoder(vlm)
        self.boxes = BoxConverter.of(self.encoder)
        steps = sft_steps(section, len(samples))
        self.sampler = BatchSampler(
            len(samples),
            samples_per_step(section),
            seed,
            batches=steps,
            drop_last=False,
            share=(distributed.rank(), distributed.world_size()),
        )
        repeats = steps * samples_per_step(section) / len(samples)
        if repeats > MAX_REPEATS:
            warn_once(f"{len(samples)} rows in {steps} steps of SFT: each is seen {repeats:.0f} times; lower max_steps")
        self.optimization = Optimization(
            vlm, section, run or RunSection(), micro_batch_size=section.batch_size, steps=steps, seed=seed
        )
        self.session = TrainingSession(
            self.optimization,
            section,
            run or RunSection(),
            steps=steps,
            title=title,
            log=log,
            metadata={"prompts_a_step": self.sampler.batch_size, "samples": len(samples)},
            checkpoints=checkpoints,
            eval_fn=eval_fn,
        )

    def train(self, *, resume: Path | None = None) -> None:
        """Train to the last step. See :meth:`TrainingSession.running` for ``resume`` and what it raises."""
        session, optimization, timer = self.session, self.optimization, self.session.timer
        with session.running(resume):
            while not session.finished:
                # A sample that cannot be read ends all processes here, before any of the step is trained on.
                with distributed.raise_on_all_ranks(), timer("encoding"):
                    batch = self.collect(session.batch_number)
                total = sum(distributed.all_gather(sum(weighted_tokens(e) for micro in batch for e in micro)))
                optimization.model.train()
                loss = torch.zeros((), device=self.vlm.device)
                for i, examples in enumerate(batch, start=1):
                    with optimization.accumulate(last=i == len(batch)):
                        with timer("forward"):
                            part = self.loss_sum(examples) / max(total / distributed.world_size(), 1e-8)
                        with timer("backward"):
                            optimization.backward(part)
                    loss += part.detach()
                with timer("optimiser"):
                    update = optimization.step()
                session.end_step(loss, update)  # logs, evaluates
                session.end_batch()  # saves, stops

    def collect(self, number: int) -> list[list[SftExample]]:
        """The micro-batches of this process's part of a step."""
        if number + 1 < len(self.sampler):
            self.encoder.prefetch(image for i in self.sampler[number + 1] for image in self.samples[i].images)
        examples = [self._example(self.samples[i]) for i in self.sampler[number]]
        size = self.section.batch_size
        return [examples[i : i + size] for i in range(0, len(examples), size)]

    def _example(self, sample: Sample) -> SftExample:
        prompt = self.encoder.encode(render(sample, self.template))
        return SftExample(prompt, tuple(target_ids(self.vlm, sample, self.boxes)), sample.weight)

    def loss_sum(self, examples: Sequence[SftExample]) -> torch.Tensor:
        """The sum of the target tokens' weighted cross-entropies."""
        prompts = self.encoder.batch([e.prompt for e in examples])
        out: GroupLogprobs = self.optimization.model(
            prompts, [[e.target] for e in examples], form=forward_groups, argmax=True
        )
        weights = torch.tensor([e.weight for e in examples], device=out.logprobs.device)
        assert out.is_argmax is not None
        tokens = int(out.mask.sum())
        self.session.metrics.add(tokens, token_accuracy=float(out.is_argmax.sum() / tokens))
        return -(out.logprobs * out.mask * weights[:, None]).sum()


def weighted_tokens(example: SftExample) -> float:
    """What an example adds to the denominator of the loss."""
    return example.weight * len(example.target)


def check_targets(samples: Sequence[Sample]) -> None:
    """Check that every sample can be a row of SFT.

    Raises:
        InputError: the first one without a target.
    """
    for sample in samples:
        if not sample.target:
            remedy = "SFT needs a full assistant turn in `target`"
            raise InputError(f"sample {sample.id!r} has no target", remedy=remedy)


def target_ids(vlm: Vlm, sample: Sample, boxes: BoxConverter | None = None) -> list[int]:
    """The token ids of a sample's target with the end of turn, its boxes in the model's own space.

    Raises:
        InputError: no target, or special tokens inside it.
    """
    check_targets([sample])
    assert sample.target is not None
    target = boxes.text_to_model(sample.target, sample) if boxes else sample.target
    ids = vlm.tokenizer(target, add_special_tokens=False).input_ids
    if set(ids) & set(vlm.tokenizer.all_special_ids):
        raise InputError(f"the target of sample {sample.id!r} holds special tokens", remedy="remove them from the data")
    return [*ids, vlm.tokenizer.eos_token_id]


def samples_per_step(section: SftSection) -> int:
    """Samples of one optimiser step, over all processes."""
    return section.batch_size * section.gradient_accumulation_steps * distributed.world_size()


def sft_steps(section: SftSection, samples: int) -> int:
    """How many optimiser steps there are. The last batch of the last epoch is filled up from the next epoch's order."""
    return (
        section.max_steps if section.max_steps > 0 else math.ceil(section.epochs * samples / samples_per_step(section))
    )
