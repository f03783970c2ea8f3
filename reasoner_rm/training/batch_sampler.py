"""Which samples belong to one batch: those that all processes train on between two rollouts, or in one step."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence

from reasoner_rm.errors import InputError
from reasoner_rm.schema import PAIRWISE_TASKS, Sample
from reasoner_rm.utils.seeding import stable_seed


def with_swapped(samples: Sequence[Sample]) -> list[Sample]:
    """Every comparison twice: as it is, and next to it with the candidates exchanged, under an id (and seeds) of its
    own.

    Raises:
        InputError: a sample that compares nothing.
    """
    for sample in samples:
        if sample.task not in PAIRWISE_TASKS:
            what = f"sample {sample.id!r} is {sample.task}, which compares nothing and has one order"
            raise InputError(what, remedy="switch grpo.both_orders off")
    return [s for sample in samples for s in (sample, _swapped(sample))]


def _swapped(sample: Sample) -> Sample:
    return dataclasses.replace(sample.swapped(), id=f"{sample.id}~swapped")


class BatchSampler:
    """The batches of a whole training, as indices into its samples. What a batch holds depends on its number alone, so
    that training can be resumed at any of them.

    Args:
        size: how many samples there are; every epoch shuffles them anew.
        batch_size: samples of one batch, over all processes.
        block: the number of neighbours in the dataset that stay together.
        batches: how many there are; by default those of one epoch.
        drop_last: no batch spans two epochs, and what does not fill one is left out of the epoch. Otherwise the next
            epoch fills it.
        share: (rank, world size) of the process. It gets that part of each batch.
    """

    def __init__(
        self,
        size: int,
        batch_size: int,
        seed: int,
        *,
        block: int = 1,
        batches: int | None = None,
        drop_last: bool = True,
        share: tuple[int, int] = (0, 1),
    ):
        self.size, self.batch_size, self.seed, self.block, self.share = size, batch_size, seed, block, share
        self._period = size // batch_size * batch_size if drop_last else size
        self._batches = self._period // batch_size if batches is None else batches
        self._epoch: tuple[int, list[int]] = (-1, [])

    def __len__(self) -> int:
        return self._batches

    def __getitem__(self, number: int) -> list[int]:
        """This process's part of a batch.

        Raises:
            IndexError: there are not so many.
        """
        if not 0 <= number < self._batches:
            raise IndexError(number)
        rank, world_size = self.share
        part = self.batch_size // world_size
        begin = number * self.batch_size + rank * part
        return [self._index(*divmod(place, self._period)) for place in range(begin, begin + part)]

    def _index(self, epoch: int, place: int) -> int:
        if self._epoch[0] != epoch:
            blocks = list(range(0, self.size, self.block))
            random.Random(stable_seed(self.seed, "order", epoch)).shuffle(blocks)
            self._epoch = epoch, [i for start in blocks for i in range(start, start + self.block)]
        return self._epoch[1][place]
