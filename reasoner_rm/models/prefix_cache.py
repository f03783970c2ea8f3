"""Caches for decoding N prompts with G rows each, one token per row and step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from reasoner_rm.models.gated_delta import Inputs, RowStates, State
from reasoner_rm.models.loading import Vlm
from reasoner_rm.models.prompt_encoder import EncodedPrompt, PromptBatch, PromptEncoder
from reasoner_rm.models.vision_cache import vision_keywords

PREFILL_TOKENS = 2**15
"""Tokens of one forward pass over prompts, or over the reasonings that a listener reads. Its activations are 70 to 120
kB a token in a model of 3 billion weights."""


class KVCache(Protocol):
    """Keys and values of the running rows. ``rows`` is G, the rows per prompt."""

    rows: int

    def forward_kwargs(self) -> dict[str, Any]:
        """Keyword arguments of the forward pass of one token per row."""
        ...

    def step(self) -> None:
        """Must be called after each forward pass."""
        ...

    def select(self, prompts: Tensor, rows: Tensor, count: int) -> None:
        """Keep the prompts [N'] and the rows [N' · count] with these indices."""
        ...


class Prefilled(NamedTuple):
    """N prompts: their ``cache``, the last hidden states [N, D], and the ``position`` [N] of the next token."""

    cache: KVCache
    hidden: Tensor
    position: Tensor


def prefill(
    vlm: Vlm, encoder: PromptEncoder, prompts: Sequence[EncodedPrompt], rows: int, max_tokens: int = PREFILL_TOKENS
) -> Prefilled:
    """Run N prompts once, for ``rows`` completions each; up to ``max_tokens`` in one forward pass, at least a prompt.
    A family that is not packed runs all of them in one.

    Args:
        encoder: of ``vlm``, or of a model with the same processor.
    """
    if not vlm.family.supports_packing:
        batch = encoder.batch(prompts)
        cache, hidden = _forward(vlm, batch)
        return Prefilled(RepeatedPrefixCache(cache, batch.mask, rows), hidden, _next_position(batch))
    width = max(len(p.input_ids) for p in prompts)
    at_once = max(1, max_tokens // width)
    parts = list[tuple[PromptBatch, PromptMemory, Tensor]]()
    for start in range(0, len(prompts), at_once):
        batch = encoder.batch(prompts[start : start + at_once], width)
        cache, hidden = _forward(vlm, batch)
        parts.append((batch, PromptMemory.of(cache), hidden))
    mask = torch.cat([batch.mask for batch, *_ in parts])
    return Prefilled(
        SharedPrefixCache(PromptMemory.cat([memory for _, memory, _ in parts]), mask, rows),
        torch.cat([hidden for *_, hidden in parts]),
        torch.cat([_next_position(batch) for batch, *_ in parts]),
    )


class PromptMemory(NamedTuple):
    """What N prompts leave behind, by layer: ``keys`` and ``values`` [N, K, P, D] of full attention, and the ``states``
    after the last token of linear layers."""

    keys: dict[int, Tensor]
    values: dict[int, Tensor]
    states: dict[int, State]

    @staticmethod
    def of(cache: Any) -> PromptMemory:
        """From transformers' cache. It keeps one input of a convolution more than the next token reads."""
        layers = dict(enumerate(cache.layers))
        linear = {i: layer for i, layer in layers.items() if hasattr(layer, "recurrent_states")}
        full = {i: layer for i, layer in layers.items() if i not in linear}
        return PromptMemory(
            {i: layer.keys for i, layer in full.items()},
            {i: layer.values for i, layer in full.items()},
            {i: State(layer.conv_states[0][..., 1:].mT, layer.recurrent_states[0]) for i, layer in linear.items()},
        )

    @staticmethod
    def cat(parts: Sequence[PromptMemory]) -> PromptMemory:
        """Of all prompts of the parts, whose keys are equally long."""
        keys = {i: torch.cat([p.keys[i] for p in parts]) for i in parts[0].keys}
        values = {i: torch.cat([p.values[i] for p in parts]) for i in parts[0].values}
        states = {
            i: State(*(torch.cat(same) for same in zip(*(p.states[i] for p in parts), strict=True)))
            for i in parts[0].states
        }
        return PromptMemory(keys, values, states)


def _forward(vlm: Vlm, batch: PromptBatch) -> tuple[Any, Tensor]:
    """transformers' cache of a batch, and the last hidden states."""
    out = vlm.model.model(
        input_ids=batch.input_ids,
        attention_mask=batch.mask,
        position_ids=batch.positions,
        use_cache=True,
        **vision_keywords(batch.vision),
    )
    return out.past_key_values, out.last_hidden_state[:, -1]


def _next_position(batch: PromptBatch) -> Tensor:
    return batch.positions.amax(dim=(0, 2)) + 1


class SharedPrefixCache:
    """One copy of the prompts' keys and values; each row stores those of its own tokens only, and its own states of the
    linear layers, which start as its prompt's.

    Args:
        mask: [N, P], 0 on padding.
        rows: G.
    """

    def __init__(self, prompts: PromptMemory, mask: Tensor, rows: int):
        self.prompts = prompts._replace(states={})
        self.bias = torch.zeros(mask.shape, device=mask.device).masked_fill(mask == 0, -torch.inf)[:, None, None]
        self.rows, self.length = rows, 0
        self.own: dict[int, tuple[Tensor, Tensor]] = {}
        self.states = RowStates(prompts.states)
        self.states.select(torch.arange(len(mask), device=mask.device).repeat_interleave(rows))

    def forward_kwargs(self) -> dict[str, Any]:
        return {"groups": self, "use_cache": False}

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        own_key, own_value = self._append(layer, key, value)
        shared_key, shared_value = self.prompts.keys[layer], self.prompts.values[layer]
        n, heads, dim = len(shared_key), shared_key.shape[1], query.shape[-1]
        # [N·G, H, 1, D] → per prompt and key head, the G·(H/K) queries that share it
        q = (query * scale).view(n, self.rows, heads, -1, dim).transpose(1, 2)
        by_prompt, by_row = q.flatten(2, 3), query.mul(scale).view(n * self.rows, heads, -1, dim)
        to_prompt = (by_prompt @ shared_key.transpose(-1, -2) + self.bias.to(query.dtype)).unflatten(2, (self.rows, -1))
        to_own = (by_row @ own_key.transpose(-1, -2)).unflatten(0, (n, self.rows)).transpose(1, 2)
        weights = torch.cat([to_prompt, to_own], -1).softmax(-1, dtype=torch.float32).to(query.dtype)
        at_prompt, at_own = weights.split([shared_key.shape[2], own_key.shape[2]], -1)
        out = (at_prompt.flatten(2, 3) @ shared_value).unflatten(2, (self.rows, -1)).transpose(1, 2).flatten(0, 1)
        out = out + at_own.transpose(1, 2).flatten(0, 1) @ own_value
        return out.reshape(n * self.rows, 1, -1, dim)

    def recur(self, layer: Any, inputs: Inputs) -> Tensor:
        """See `RecurrentPattern`."""
        return self.states.recur(layer, inputs)

    def _append(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Store one token's key and value [B, K, 1, D]; returns all of the rows' own."""
        if layer not in self.own:
            self.own[layer] = _empty_like(key, 16), _empty_like(value, 16)
        elif self.length == self.own[layer][0].shape[2]:
            self.own[layer] = tuple(torch.cat([x, _empty_like(x, x.shape[2])], 2) for x in self.own[layer])  # type: ignore[assignment]
        for kept, new in zip(self.own[layer], (key, value), strict=True):
            kept[:, :, self.length] = new[:, :, 0]
        own_key, own_value = self.own[layer]
        return own_key[:, :, : self.length + 1], own_value[:, :, : self.length + 1]

    def step(self) -> None:
        self.length += 1

    def select(self, prompts: Tensor, rows: Tensor, count: int) -> None:
        keys, values = ({i: x[prompts] for i, x in kept.items()} for kept in (self.prompts.keys, self.prompts.values))
        self.prompts = PromptMemory(keys, values, {})
        self.bias, self.rows = self.bias[prompts], count
        self.own = {i: (k[rows], v[rows]) for i, (k, v) in self.own.items()}
        self.states.select(rows)


def _empty_like(like: Tensor, tokens: int) -> Tensor:
    return like.new_empty(*like.shape[:2], tokens, like.shape[3])


class RepeatedPrefixCache:
    """The prompts' cache repeated for every row, for models whose attention does not support packing."""

    def __init__(self, cache: Any, mask: Tensor, rows: int):
        cache.reorder_cache(
            torch.arange(len(mask), device=mask.device).repeat_interleave(rows)
        )  # recurrent states, too
        self.cache, self.rows = cache, rows
        self.mask = mask.repeat_interleave(rows, 0)

    def forward_kwargs(self) -> dict[str, Any]:
        self.mask = torch.cat([self.mask, self.mask.new_ones(len(self.mask), 1)], 1)
        return {"past_key_values": self.cache, "attention_mask": self.mask, "use_cache": True}

    def step(self) -> None:
        pass

    def select(self, prompts: Tensor, rows: Tensor, count: int) -> None:
        self.cache.reorder_cache(rows)
        self.mask, self.rows = self.mask[rows], count
