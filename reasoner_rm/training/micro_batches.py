"""A window cut into backward passes, each in as many parts as its tokens need, in step with other processes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from reasoner_rm import distributed
from reasoner_rm.config import GrpoSection
from reasoner_rm.models.prompt_encoder import EncodedPrompt
from reasoner_rm.schema import ScoredGroup
from reasoner_rm.training.losses import LossNormalizer
from reasoner_rm.training.packed_batch import PackedBatch, dummy, split


@dataclass(slots=True)
class MicroBatch:
    """One backward pass as the trainer counts them. ``whole``: of all parts."""

    parts: list[PackedBatch]
    whole: LossNormalizer


def make_micro_batches(
    batches: Iterable[Sequence[tuple[ScoredGroup, EncodedPrompt]]], section: GrpoSection, lockstep: bool
) -> list[MicroBatch]:
    """The micro-batches of a process's part of a window; each process has to ask.

    Args:
        in_step: as many parts in each as the process with the most has.
    """
    window = [MicroBatch(split(groups, section.max_tokens_per_forward), LossNormalizer(0, 0)) for groups in batches]
    _measure(window, section)
    if lockstep:
        _level(window)
    return window


def loss_tokens(part: PackedBatch, section: GrpoSection) -> list[int]:
    """How many tokens of each completion bear loss."""
    drop = section.mask_truncated_completions
    return [0 if drop and c.finish_reason != "stop" else len(c.token_ids) for c in part.completions]


def _measure(window: list[MicroBatch], section: GrpoSection) -> None:
    """What each micro-batch is a part of. Each is divided by their number later, and gradients by the number of
    processes: the tokens of the whole update are shared out before."""
    tokens = [float(sum(sum(loss_tokens(part, section)) for part in micro.parts)) for micro in window]
    mean = sum(distributed.all_gather(sum(tokens))) / distributed.world_size() / len(window)
    for micro, here in zip(window, tokens, strict=True):
        rows = sum(len(part.completions) for part in micro.parts)
        micro.whole = LossNormalizer(rows, here if section.loss_type == "bnpo" else mean)


def _level(window: list[MicroBatch]) -> None:
    """Filled up with idle parts."""
    counts = distributed.all_gather([len(micro.parts) for micro in window])
    for micro, most in zip(window, map(max, *counts), strict=True):
        micro.parts = [dummy(micro.parts)] * (most - len(micro.parts)) + micro.parts
