"""A rollout batch as the update goes through it: micro-batches, each in as many forward passes as its tokens need."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from torch import Tensor

from reasoner_rm import distributed
from reasoner_rm.config import GrpoSection
from reasoner_rm.models.prompt_encoder import EncodedPrompt
from reasoner_rm.schema import ScoredGroup
from reasoner_rm.training.losses import LossNormalizer, by_micro_batch
from reasoner_rm.training.packed_batch import Pack, dummy_pack, make_packs


@dataclass(frozen=True, slots=True)
class FixedLogprobs:
    """Log-probabilities [B, C] of a pack's completions that stay the same during all updates on it: of the policy that
    sampled, where it is not the one that is updated; of the reference, where there is a KL term."""

    old: Tensor | None
    reference: Tensor | None


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """``packs`` whose losses add up to one mean over ``normalizer``."""

    packs: tuple[tuple[Pack, FixedLogprobs], ...]
    normalizer: LossNormalizer


def make_micro_batches(
    batches: Iterable[Sequence[tuple[ScoredGroup, EncodedPrompt]]],
    section: GrpoSection,
    fixed_logprobs: Callable[[Pack], FixedLogprobs],
    *,
    lockstep: bool,
) -> tuple[MicroBatch, ...]:
    """The micro-batches of a process's part of a rollout batch. Collective: call it on every process.

    Args:
        batches: the groups of each.
        fixed_logprobs: computes the log-probabilities that no update changes.
        lockstep: as many packs in each as the process with the most has.
    """
    packs = [make_packs(groups, section.max_tokens_per_forward) for groups in batches]
    normalizers = _normalizers(packs, section)
    if lockstep:
        packs = _levelled(packs)
    return tuple(
        MicroBatch(tuple((pack, fixed_logprobs(pack)) for pack in some), normalizer)
        for some, normalizer in zip(packs, normalizers, strict=True)
    )


def _normalizers(batches: Sequence[Sequence[Pack]], section: GrpoSection) -> list[LossNormalizer]:
    """What the losses of each micro-batch are divided by. They are divided by the number of micro-batches later, and
    gradients by the number of processes, so that each normaliser has its share of the update's tokens."""
    drop = section.mask_truncated_completions
    tokens = [float(sum(sum(pack.loss_tokens(drop)) for pack in packs)) for packs in batches]
    mean = sum(distributed.all_gather(sum(tokens))) / distributed.world_size() / len(batches)
    return [
        LossNormalizer(sum(len(p.completions) for p in packs), here if by_micro_batch(section.loss_type) else mean)
        for packs, here in zip(batches, tokens, strict=True)
    ]


def _levelled(batches: Sequence[Sequence[Pack]]) -> list[list[Pack]]:
    """Padded with dummy packs to the same number in every process."""
    counts = distributed.all_gather([len(packs) for packs in batches])
    return [
        [dummy_pack(packs)] * (most - len(packs)) + list(packs)
        for packs, most in zip(batches, map(max, *counts), strict=True)
    ]
