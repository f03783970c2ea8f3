"""Which samples stand in one window: the prompts of a rank that are rolled out, scored and trained on together."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Iterator, Sequence

import torch

from reasoner_rm.data.seeding import stable_seed
from reasoner_rm.errors import InputError
from reasoner_rm.schema import PAIRWISE_TASKS, Sample


def with_swapped(samples: Sequence[Sample]) -> list[Sample]:
    """Every comparison twice, its twin beside it with the candidates exchanged, under an id (and seeds) of its own.

    Raises:
        InputError: a sample that compares nothing.
    """
    for sample in samples:
        if sample.task not in PAIRWISE_TASKS:
            what = f"sample {sample.id!r} is {sample.task}, which compares nothing and has one order"
            raise InputError(what, remedy="switch grpo.both_orders off")
    return [s for sample in samples for s in (sample, _twin(sample))]


def _twin(sample: Sample) -> Sample:
    return dataclasses.replace(sample.swapped(), id=f"{sample.id}~swapped")


class WindowSampler(torch.utils.data.Sampler[int]):
    """Windows of shuffled indices for a whole training, each ``repeats`` times. Which samples a window holds depends on
    its number alone, so that training can begin anywhere; of each, a process gets a share of its own, side by side.

    Args:
        size: how many samples there are; every epoch shuffles them anew.
        window: how many samples a window holds, over all processes.
        repeats: how often a window is trained on.
        windows: how many there are; by default those of one epoch.
        block: so many neighbours in the dataset stay together.
        filled: no window spans two epochs; what does not fill one waits for the next epoch. Otherwise the next epoch
            fills it.
        share: (number, count) of the process, which gets that part of each window.
        announce: is told this process's part of each window one window ahead.
    """

    def __init__(
        self,
        size: int,
        window: int,
        repeats: int,
        seed: int,
        block: int = 1,
        prefetch: Callable[[list[int]], None] = lambda _: None,
        *,
        windows: int | None = None,
        drop_last: bool = True,
        share: tuple[int, int] = (0, 1),
    ):
        self.size, self.window, self.repeats, self.seed, self.block = size, window, repeats, seed, block
        self.prefetch = prefetch
        self.period = size // window * window if drop_last else size
        self.windows = self.period // window if windows is None else windows
        self.share = share
        self.start = 0
        """The window to begin with; those before it were trained on already."""
        self._epoch: tuple[int, list[int]] = (-1, [])

    def at(self, number: int) -> list[int]:
        """This process's part of a window."""
        rank, ranks = self.share
        part = self.window // ranks
        begin = number * self.window + rank * part
        return [self._sample(*divmod(place, self.period)) for place in range(begin, begin + part)]

    def _sample(self, epoch: int, place: int) -> int:
        if self._epoch[0] != epoch:
            blocks = list(range(0, self.size, self.block))
            random.Random(stable_seed(self.seed, "order", epoch)).shuffle(blocks)
            self._epoch = epoch, [i for start in blocks for i in range(start, start + self.block)]
        return self._epoch[1][place]

    def __iter__(self) -> Iterator[int]:
        for number in range(self.start, self.windows):
            indices = self.at(number)
            if number + 1 < self.windows:
                self.prefetch(self.at(number + 1))
            for _ in range(self.repeats):
                yield from indices

    def __len__(self) -> int:
        return self.windows * self.window // self.share[1] * self.repeats
