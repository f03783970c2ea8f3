"""Which samples stand in one window: the prompts of a rank that are rolled out, scored and trained on together."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Iterator, Sequence

import torch

from reasoner_rm.data.seeding import stable_seed
from reasoner_rm.errors import InputError
from reasoner_rm.schema import CANDIDATES, Sample


def in_both_orders(samples: Sequence[Sample]) -> list[Sample]:
    """Every comparison twice, its twin beside it with the candidates exchanged, under an id (and seeds) of its own.

    Raises:
        InputError: a sample that compares nothing.
    """
    for sample in samples:
        if sample.task not in CANDIDATES:
            what = f"sample {sample.id!r} is {sample.task}, which compares nothing and has one order"
            raise InputError(what, remedy="switch grpo.both_orders off")
    return [s for sample in samples for s in (sample, _twin(sample))]


def _twin(sample: Sample) -> Sample:
    return dataclasses.replace(sample.swapped(), id=f"{sample.id}~swapped")


class WindowSampler(torch.utils.data.Sampler[int]):
    """Whole windows of shuffled indices, each ``repeats`` times; what does not fill a window waits for the next
    epoch, which is shuffled anew. Indices of one ``block`` (neighbours in the dataset) stay together.

    Args:
        announce: is told each window's indices one window ahead.
    """

    def __init__(
        self,
        size: int,
        window: int,
        repeats: int,
        seed: int,
        block: int = 1,
        announce: Callable[[list[int]], None] = lambda _: None,
    ):
        self.size, self.window, self.repeats, self.seed, self.block = size, window, repeats, seed, block
        self.announce = announce
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        blocks = list(range(0, self.size, self.block))
        random.Random(stable_seed(self.seed, "order", self.epoch)).shuffle(blocks)
        order = [i for start in blocks for i in range(start, start + self.block)]
        for start in range(0, self.size - self.window + 1, self.window):
            self.announce(order[start + self.window : start + 2 * self.window])
            for _ in range(self.repeats):
                yield from order[start : start + self.window]

    def __len__(self) -> int:
        return self.size // self.window * self.window * self.repeats
