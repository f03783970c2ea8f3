"""Gated-DeltaNet layers (Qwen3.5, arXiv 2412.06464) over groups: what a prompt leaves behind is computed once, and
every completion starts from it.

A layer carries two things from token to token: the last inputs of its causal convolution, and the matrix that the
delta rule updates. `State` is both. Functions of the delta rule and the convolution are those of the layer's own module
in transformers, which takes the kernels of `fla` and `causal_conv1d` where these are installed.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence


class Inputs(NamedTuple):
    """Of a layer's convolution and delta rule, [B, T, ...]: ``mixed`` [B, T, C] is what the convolution reads, queries,
    keys and values together; ``decay`` [B, T, H] the logarithm of the factor of the old matrix, at most 0; ``beta``
    [B, T, H] the rate of the new token. Zeros in all three are a token without effect."""

    mixed: Tensor
    decay: Tensor
    beta: Tensor


class State(NamedTuple):
    """Of B rows: the convolution's last inputs ``conv`` [B, K - 1, C], and the ``matrix`` [B, H, Dk, Dv]."""

    conv: Tensor
    matrix: Tensor

    def rows(self, index: Tensor) -> State:
        """The rows with these indices; one may be taken several times."""
        return State(self.conv[index], self.matrix[index])


class RecurrentPattern(Protocol):
    """What the linear layers of one forward pass carry from where to where."""

    def recur(self, layer: Any, inputs: Inputs) -> Tensor:
        """The layer's outputs [B, T, H, Dv], before its norm and gate."""
        ...


def fork_linear_layers(text_model: torch.nn.Module) -> None:
    """Let the Gated-DeltaNet layers of a language model follow the pattern that a forward pass gets as ``groups``."""
    for layer in text_model.layers:  # type: ignore[union-attr]
        if hasattr(layer, "linear_attn"):
            layer.linear_attn.forward = _PatternForward(layer.linear_attn)


class _PatternForward:
    """Of a Gated-DeltaNet layer: transformers' own, with `RecurrentPattern` in place of its cache."""

    def __init__(self, layer: Any):
        self.layer = layer

    def __call__(self, hidden_states: Tensor, groups: RecurrentPattern | None = None, **kwargs: Any) -> Tensor:
        layer = self.layer
        if groups is None:
            out: Tensor = type(layer).forward(layer, hidden_states, **kwargs)
            return out
        decay = -layer.A_log.float().exp() * F.softplus(layer.in_proj_a(hidden_states).float() + layer.dt_bias)
        beta = layer.in_proj_b(hidden_states).sigmoid()
        read = groups.recur(layer, Inputs(layer.in_proj_qkv(hidden_states), decay, beta))
        gate = layer.in_proj_z(hidden_states).view(read.shape)
        normed = layer.norm(read.flatten(0, -2), gate.flatten(0, -2)).view(read.shape)
        projected: Tensor = layer.out_proj(normed.flatten(2))
        return projected


def run_rows(
    layer: Any, inputs: Inputs, before: State | None = None, lengths: Tensor | None = None
) -> tuple[Tensor, State]:
    """Convolution and delta rule of B right-padded rows of T tokens; differentiable, ``before`` included.

    Args:
        before: the state that each row starts from; None: nothing.
        lengths: [B] tokens of each row; None: T.

    Returns:
        Outputs [B, T, H, Dv], and the state after each row's last token.
    """
    functions = sys.modules[type(layer).__module__]
    batch, tokens = inputs.mixed.shape[:2]
    kept = layer.conv_kernel_size - 1
    earlier = inputs.mixed.new_zeros(batch, kept, layer.conv_dim) if before is None else before.conv
    read = torch.cat([earlier.to(inputs.mixed.dtype), inputs.mixed], 1)
    weight, bias = layer.conv1d.weight.squeeze(1), layer.conv1d.bias
    mixed = functions.causal_conv1d_fn(read.transpose(1, 2), weight, bias, activation=layer.activation)
    mixed = mixed[:, :, kept:].transpose(1, 2)
    query, key, value = mixed.split([layer.key_dim, layer.key_dim, layer.value_dim], -1)
    query, key = (x.unflatten(-1, (-1, layer.head_k_dim)) for x in (query, key))
    query, key = (x.repeat_interleave(layer.num_v_heads // layer.num_k_heads, 2) for x in (query, key))
    # a single token of a decoding step: the fused kernel of this rule has no backward pass
    step = tokens == 1 and not torch.is_grad_enabled()
    rule = functions.torch_recurrent_gated_delta_rule if step else functions.torch_chunk_gated_delta_rule
    out, matrix = rule(
        query,
        key,
        value.unflatten(-1, (-1, layer.head_v_dim)),
        g=inputs.decay,
        beta=inputs.beta,
        initial_state=None if before is None else before.matrix,
        output_final_state=True,
        use_qk_l2norm_in_kernel=True,
    )
    if lengths is None:
        return out, State(read[:, tokens:], matrix)
    last = lengths[:, None] + torch.arange(kept, device=lengths.device)
    return out, State(read.gather(1, last[..., None].expand(-1, -1, read.shape[2])), matrix)


class ForkedRows:
    """The linear layers of a packed row ``[p1]…[pN][c11]…[c1G][c21]…``: the prompts run once, as a batch, and each
    completion starts from the state after its prompt. No token reaches another prompt or completion."""

    def __init__(self, prompts: Sequence[int], completions: Sequence[Sequence[int]], device: Any):
        """Of N groups: the length of each prompt, and of its completions."""
        self.prompts = [*prompts]
        self.completions = [length for group in completions for length in group]
        self.prompt_lengths = torch.tensor(self.prompts, device=device)
        counts = torch.tensor([len(group) for group in completions], device=device)
        self.prompt_of = torch.repeat_interleave(torch.arange(len(counts), device=device), counts)
        self.is_prompt, self.is_completion = (_mask(of, device) for of in (self.prompts, self.completions))

    def recur(self, layer: Any, inputs: Inputs) -> Tensor:
        """See :class:`RecurrentPattern`; B is 1."""
        first = sum(self.prompts)
        out, after = run_rows(layer, _rows(inputs, 0, self.prompts), lengths=self.prompt_lengths)
        parts = [out[self.is_prompt]]
        if any(self.completions):
            out, _ = run_rows(layer, _rows(inputs, first, self.completions), after.rows(self.prompt_of))
            parts.append(out[self.is_completion])
        return torch.cat(parts)[None]


def _rows(inputs: Inputs, start: int, lengths: Sequence[int]) -> Inputs:
    """Consecutive rows of one, from ``start``, right-padded with zeros."""
    parts = (x[0, start : start + sum(lengths)].split(list(lengths)) for x in inputs)
    return Inputs(*(pad_sequence(part, batch_first=True) for part in parts))


def _mask(lengths: Sequence[int], device: Any) -> Tensor:
    """[B, T], where rows of these lengths have tokens."""
    ends = torch.tensor(lengths, device=device)
    return torch.arange(max(lengths, default=0), device=device) < ends[:, None]


class RowStates:
    """The states of running rows, by layer, one token per row and step."""

    def __init__(self, layers: Mapping[int, State]):
        self.layers = dict(layers)

    def recur(self, layer: Any, inputs: Inputs) -> Tensor:
        """See :class:`RecurrentPattern`; T is 1."""
        out, self.layers[layer.layer_idx] = run_rows(layer, inputs, self.layers[layer.layer_idx])
        return out

    def select(self, rows: Tensor) -> None:
        """Keep the rows with these indices; one may be kept several times."""
        self.layers = {i: state.rows(rows) for i, state in self.layers.items()}

    def join(self, others: RowStates) -> None:
        """Append rows."""
        for i, more in others.layers.items():
            mine = self.layers.get(i)
            self.layers[i] = more if mine is None else State(*map(torch.cat, zip(mine, more, strict=True)))
