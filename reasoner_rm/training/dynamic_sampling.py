"""Dynamic sampling (DAPO, arXiv 2503.14476): groups in which `filter_metric` does not vary are replaced by groups of
other prompts."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from reasoner_rm import distributed
from reasoner_rm.schema import Sample
from reasoner_rm.utils.seeding import stable_seed

G = TypeVar("G")


class DynamicSampler:
    """Draws replacements from the samples in a seeded order of its own, the same in every process.

    Args:
        block: the number of neighbours that stay together; they are replaced when none of them is informative.
        cap: the most samples that a rollout batch may draw, over all processes.
    """

    def __init__(self, samples: Sequence[Sample], block: int, cap: int, seed: int):
        self.samples, self.block, self.cap, self.seed = samples, block, cap, seed
        self._place = 0
        """How many blocks were drawn so far."""
        self._epoch: tuple[int, list[int]] = (-1, [])

    def state_dict(self) -> dict[str, Any]:
        return {"place": self._place}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        self._place = state_dict["place"]

    def fill(
        self,
        groups: Sequence[G],
        ids: Iterable[str],
        answer: Callable[[list[Sample]], list[G]],
        is_informative: Callable[[G], bool],
    ) -> tuple[list[G], dict[str, float]]:
        """A process's part of a rollout batch, uninformative groups replaced up to the cap; and shares of it:
        ``uninformative`` as first drawn, ``replaced``, and ``resampled``, prompts answered beside it. Collective: call
        it on every process.

        Args:
            ids: of the samples behind the groups.
            answer: rolls out and scores; called equally often in every process, perhaps with nothing.
        """
        blocks = self._blocks(groups)
        uninformative = [i for i, b in enumerate(blocks) if not any(map(is_informative, b))]
        first, resampled = len(uninformative), 0
        shown = {name for some in distributed.all_gather(list(ids)) for name in some}
        left = self.cap // self.block
        while True:
            asked = distributed.all_gather(len(uninformative))
            drawn = self._draw(min(sum(asked), left), shown)
            if not drawn:
                break
            left -= len(drawn)
            begin = sum(asked[: distributed.rank()])
            mine = [s for block in drawn[begin : begin + len(uninformative)] for s in block]
            resampled += len(mine)
            for block in self._blocks(answer(mine)):
                if any(map(is_informative, block)):
                    blocks[uninformative.pop(0)] = block
        whole = max(1, len(blocks))
        shares = {
            "uninformative": first / whole,
            "replaced": (first - len(uninformative)) / whole,
            "resampled": resampled / len(groups),
        }
        return [group for block in blocks for group in block], shares

    def _blocks(self, groups: Sequence[G]) -> list[Sequence[G]]:
        return [groups[i : i + self.block] for i in range(0, len(groups), self.block)]

    def _draw(self, wanted: int, shown: set[str]) -> list[Sequence[Sample]]:
        """The next blocks that are not in the rollout batch; fewer where there are no more."""
        found: list[Sequence[Sample]] = []
        count = len(self.samples) // self.block
        for _ in range(count):
            if len(found) == wanted:
                break
            block = self._at(*divmod(self._place, count))
            self._place += 1
            if block[0].id not in shown:
                shown.update(s.id for s in block)
                found.append(block)
        return found

    def _at(self, epoch: int, place: int) -> Sequence[Sample]:
        if self._epoch[0] != epoch:
            order = list(range(0, len(self.samples), self.block))
            random.Random(stable_seed(self.seed, "replacements", epoch)).shuffle(order)
            self._epoch = epoch, order
        start = self._epoch[1][place]
        return self.samples[start : start + self.block]
