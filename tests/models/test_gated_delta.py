"""Linear layers over groups, against the delta rule token by token in fp64."""

from __future__ import annotations

import random

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import Qwen3_5TextConfig
from transformers.models.qwen3_5.modeling_qwen3_5 import Qwen3_5GatedDeltaNet

from reasoner_rm.models.gated_delta import ForkedRows, Inputs

KEYS, VALUES, WIDTH = 2, 4, 8


@pytest.fixture(scope="module")
def layer() -> Qwen3_5GatedDeltaNet:
    torch.manual_seed(0)
    heads = {"linear_num_key_heads": KEYS, "linear_num_value_heads": VALUES}
    widths = {"linear_key_head_dim": WIDTH, "linear_value_head_dim": WIDTH}
    return Qwen3_5GatedDeltaNet(Qwen3_5TextConfig(hidden_size=32, **heads, **widths), 0)


def token_by_token(weight: Tensor, mixed: Tensor, decay: Tensor, beta: Tensor) -> Tensor:
    """[T, H, Dv] of one sequence: equations 1 and 10 of arXiv 2412.06464, after the convolution over channels."""
    read = torch.cat([mixed.new_zeros(weight.shape[-1] - 1, mixed.shape[1]), mixed])
    mixed = F.silu(torch.stack([(read[t : t + weight.shape[-1]].T * weight).sum(1) for t in range(len(mixed))]))
    query, key, value = mixed.split([KEYS * WIDTH, KEYS * WIDTH, VALUES * WIDTH], 1)
    query, key = (x.view(-1, KEYS, WIDTH).repeat_interleave(VALUES // KEYS, 1) for x in (query, key))
    query, key = (x * (x.square().sum(-1, keepdim=True) + 1e-6).rsqrt() for x in (query, key))
    matrix, out = mixed.new_zeros(VALUES, WIDTH, WIDTH), []
    for q, k, v, g, b in zip(query, key, value.view(-1, VALUES, WIDTH), decay, beta, strict=True):
        matrix = matrix * g.exp()[:, None, None]
        wrong = v - torch.einsum("hkv,hk->hv", matrix, k)
        matrix = matrix + torch.einsum("hk,hv->hkv", k, b[:, None] * wrong)
        out.append(torch.einsum("hkv,hk->hv", matrix, q) * WIDTH**-0.5)
    return torch.stack(out)


@pytest.mark.parametrize("seed", range(4))
def test_every_completion_continues_its_own_prompt(seed: int, layer: Qwen3_5GatedDeltaNet) -> None:
    """Prompts shorter than the kernel and longer than a chunk; empty completions, and groups without a token."""
    draw = random.Random(seed)
    prompts = [draw.choice([1, 2, 9, 70]) for _ in range(3)]
    completions = [[draw.choice([0, 1, 4, 67]) for _ in range(draw.randint(1, 3))] for _ in prompts]
    completions = [[0] * len(group) for group in completions] if seed == 0 else completions
    tokens = sum(prompts) + sum(map(sum, completions))
    generator = torch.Generator().manual_seed(seed)
    given = [torch.randn(tokens, n, generator=generator) for n in (layer.conv_dim, VALUES, VALUES)]
    given = [given[0], -given[1].abs(), given[2].sigmoid()]
    leaves = [x[None].clone().requires_grad_() for x in given]
    exact = [x.double().requires_grad_() for x in given]
    got = ForkedRows(prompts, completions, "cpu").recur(layer, Inputs(*leaves))[0]

    weight = layer.conv1d.weight.detach()[:, 0].double()
    firsts = [part.split(prompts) for part in (x[: sum(prompts)] for x in exact)]
    lasts = [x[sum(prompts) :].split([n for group in completions for n in group]) for x in exact]
    want = [token_by_token(weight, *(part[i] for part in firsts)) for i in range(len(prompts))]
    owners = [g for g, group in enumerate(completions) for _ in group]
    for i, g in enumerate(owners):
        if len(lasts[0][i]):
            row = [torch.cat([first[g], last[i]]) for first, last in zip(firsts, lasts, strict=True)]
            want.append(token_by_token(weight, *row)[prompts[g] :])
    torch.testing.assert_close(got.double(), torch.cat(want), rtol=1e-4, atol=1e-5)
    direction = torch.randn(got.shape, generator=generator)
    mine = torch.autograd.grad(got, leaves, direction)
    for a, b in zip(mine, torch.autograd.grad(torch.cat(want), exact, direction.double()), strict=True):
        assert (a[0].double() - b).norm() <= 1e-4 * b.norm()
