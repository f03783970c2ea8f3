"""A KV cache for continuous batching, whose rows join and leave at any step."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from reasoner_rm.models.gated_delta import Inputs, RowStates

ROOM = 64
"""A slot's capacity is a multiple of this number of tokens."""


class Slots:
    """Attention of rows of different lengths, one token per row and step.

    Row r owns slot r: the keys and values of its prompt, followed by those of its own tokens. Running rows are always
    the first R, so that the model reads a view; when a row leaves, the last row moves into its slot. Each row has its
    own copy of its prompt; `prefix_cache.SharedPrefixCache` shares one where all rows begin together.

    ``lengths`` are the tokens that each row holds.
    """

    def __init__(self) -> None:
        self.lengths: list[int] = []
        self._layers: dict[int, tuple[Tensor, Tensor]] = {}  # keys and values [slots, K, room, D]
        self._states = RowStates({})

    def join(
        self,
        keys: Mapping[int, Tensor],
        values: Mapping[int, Tensor],
        lengths: Sequence[int],
        rows: int,
        states: RowStates | None = None,
    ) -> None:
        """Add ``rows`` rows for each of N left-padded prompts.

        Args:
            keys, values: by layer [N, K, P, D].
            states: of the N * ``rows`` rows in the linear layers, if there are any.
        """
        first, joined = len(self.lengths), [length for length in lengths for _ in range(rows)]
        if not self._layers:
            self._layers = {i: (_none(keys[i]), _none(values[i])) for i in keys}
        self._make_room([*self.lengths, *joined])
        self.lengths += joined
        if states is not None:
            self._states.join(states)
        for i, layer in self._layers.items():
            for kept, prompts in zip(layer, (keys[i], values[i]), strict=True):
                for n, length in enumerate(lengths):
                    start = first + n * rows
                    kept[start : start + rows, :, :length] = prompts[n, :, prompts.shape[2] - length :]

    def leave(self, rows: Collection[int]) -> list[int]:
        """Remove rows; the old indices of the remaining ones, in their new order."""
        stay = len(self.lengths) - len(rows)
        holes = [row for row in rows if row < stay]
        last = [row for row in range(stay, len(self.lengths)) if row not in rows]
        order = list(range(stay))
        for hole, row in zip(holes, last, strict=True):
            order[hole] = row
        for kept in (tensor for layer in self._layers.values() for tensor in layer):
            for hole, row in zip(holes, last, strict=True):
                kept[hole] = kept[row]
            kept[stay : len(self.lengths)] = 0  # what is masked has to be finite
        self.lengths = [self.lengths[row] for row in order]
        self._states.select(torch.tensor(order, dtype=torch.long, device=self._first.device))
        return order

    def forward_kwargs(self) -> dict[str, Any]:
        """Keyword arguments of the forward pass of one token per row."""
        self._make_room(self.lengths)
        device = self._first.device
        self._rows = torch.arange(len(self.lengths), device=device)
        self._at = torch.tensor(self.lengths, device=device)
        self._mask = (torch.arange(max(self.lengths) + 1, device=device) <= self._at[:, None])[:, None, None]
        self.lengths = [length + 1 for length in self.lengths]
        return {"groups": self, "use_cache": False}

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        rows, tokens, dim = len(query), self._mask.shape[-1], query.shape[-1]
        for kept, new in zip(self._layers[layer], (key, value), strict=True):
            kept[self._rows, :, self._at] = new[:, :, 0]
        keys, values = (kept[:rows, :, :tokens] for kept in self._layers[layer])
        # [R, H, 1, D] → per key head, the H/K queries that share it
        shared = query.view(rows, keys.shape[1], -1, dim)
        out = F.scaled_dot_product_attention(shared, keys, values, attn_mask=self._mask, scale=scale)
        return out.reshape(rows, 1, -1, dim)

    def recur(self, layer: Any, inputs: Inputs) -> Tensor:
        """See `RecurrentPattern`."""
        return self._states.recur(layer, inputs)

    @property
    def _first(self) -> Tensor:
        return next(iter(self._layers.values()))[0]

    def _make_room(self, lengths: Sequence[int]) -> None:
        """Slots for rows of these lengths, and one more token of each."""
        slots, room = self._first.shape[0], self._first.shape[2]
        tokens = max(lengths) + 1
        if len(lengths) <= slots and tokens <= room:
            return
        slots = slots if len(lengths) <= slots else max(len(lengths), 2 * slots)
        room = room if tokens <= room else -(-tokens // ROOM) * ROOM
        self._layers = {i: (_grown(k, slots, room), _grown(v, slots, room)) for i, (k, v) in self._layers.items()}


def _none(like: Tensor) -> Tensor:
    return like.new_zeros(0, like.shape[1], 0, like.shape[3])


def _grown(kept: Tensor, slots: int, room: int) -> Tensor:
    grown = kept.new_zeros(slots, kept.shape[1], room, kept.shape[3])
    grown[: kept.shape[0], :, : kept.shape[2]] = kept
    return grown
