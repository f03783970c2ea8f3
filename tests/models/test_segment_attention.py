"""Attention in segments with a prefix, against plain attention with a mask in fp64."""

from __future__ import annotations

import random

import pytest
import torch
from torch import Tensor

from reasoner_rm.models import segment_attention as kernels
from reasoner_rm.models.attention import VISION_NAME, PackedAttention
from reasoner_rm.models.loading import Vlm

HEADS, SHARED, WIDTH = 4, 2, 16


def plain(query: Tensor, key: Tensor, value: Tensor, prompts: list[int], completions: list[list[int]]) -> Tensor:
    """[L, H, D]: a token sees its own prompt and its own completion, up to itself."""
    owners = [(g, 0) for g, n in enumerate(prompts) for _ in range(n)]
    owners += [(g, i) for g, row in enumerate(completions) for i, n in enumerate(row, start=1) for _ in range(n)]
    seen = [[i >= j and a[0] == b[0] and b[1] in (0, a[1]) for j, b in enumerate(owners)] for i, a in enumerate(owners)]
    key, value = (x.repeat_interleave(HEADS // SHARED, 1) for x in (key, value))
    scores = torch.einsum("qhd,khd->hqk", query, key) * WIDTH**-0.5
    return torch.einsum("hqk,khd->qhd", scores.masked_fill(~torch.tensor(seen), -torch.inf).softmax(-1), value)


def drawn(seed: int) -> tuple[list[int], list[list[int]]]:
    """Groups whose completions may be empty, and of which some are equally long."""
    draw = random.Random(seed)
    prompts = [draw.randint(1, 30) for _ in range(3)]
    return prompts, [[draw.choice([0, 0, 4, 4, 9, 17]) for _ in range(4)] for _ in prompts]


ROWS = [*(drawn(seed) for seed in range(4)), ([5], [[3]]), ([5, 7], [[0], [0, 0]]), ([5, 7], [[2, 2], [0]])]


@pytest.mark.parametrize("row", ROWS)
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5), (torch.bfloat16, 0.05)]
)
def test_a_packed_row_is_plain_attention(
    row: tuple[list[int], list[list[int]]], dtype: torch.dtype, tolerance: float
) -> None:
    torch.manual_seed(0)
    tokens = sum(row[0]) + sum(map(sum, row[1]))
    given = [torch.randn(tokens, n, WIDTH).to(dtype) for n in (HEADS, SHARED, SHARED, HEADS)]
    exact = [x.double().requires_grad_() for x in given[:3]]
    leaves = [x.requires_grad_() for x in given[:3]]
    out = PackedAttention(*row, "cpu").attend(0, *(x[None].transpose(1, 2) for x in leaves), WIDTH**-0.5)[0]  # type: ignore[arg-type]
    want = plain(*exact, *row)  # type: ignore[arg-type]
    torch.testing.assert_close(out.double(), want, rtol=tolerance, atol=tolerance)
    grads = torch.autograd.grad(out, leaves, given[3])
    for mine, theirs in zip(grads, torch.autograd.grad(want, exact, given[3].double()), strict=True):
        assert mine.dtype == dtype
        assert (mine.double() - theirs).norm() <= tolerance * theirs.norm()


def test_a_layer_makes_two_calls_whatever_the_number_of_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    forward = kernels._forward
    monkeypatch.setattr(kernels, "_forward", lambda *a: calls.append(len(a[0])) or forward(*a))
    for groups in (1, 2, 8):
        calls.clear()
        tokens = groups * (6 + 3 * 2)
        q, k, v = (torch.randn(1, n, tokens, WIDTH) for n in (HEADS, SHARED, SHARED))
        PackedAttention([6] * groups, [[2] * 3] * groups, "cpu").attend(0, q, k, v, 1.0)
        assert calls == [tokens, groups * 3 * 2]


def test_under_autocast_it_computes_in_its_dtype() -> None:
    q, k, v = (torch.randn(1, n, 9, WIDTH) for n in (HEADS, SHARED, SHARED))
    with torch.autocast("cpu", torch.bfloat16):
        out = PackedAttention([5], [[4]], "cpu").attend(0, q, k, v, 1.0)
    assert out.dtype == torch.bfloat16


@pytest.mark.parametrize("family", ["tiny_qwen2", "tiny", "tiny_qwen3"])
def test_the_vision_tower_is_transformers_own(family: str, request: pytest.FixtureRequest) -> None:
    """Images of several sizes, whole windows and cut ones."""
    vlm: Vlm = request.getfixturevalue(family)
    tower = vlm.model.model.visual
    assert tower.config._attn_implementation == VISION_NAME
    grid = torch.tensor([[1, 8, 8], [1, 6, 10], [1, 2, 4]])
    torch.manual_seed(0)
    pixels = torch.randn(int(grid.prod(1).sum()), tower.patch_embed.proj.weight[0].numel())
    with torch.no_grad():
        mine = tower(pixels, grid_thw=grid).pooler_output
        try:
            tower.config._attn_implementation = "sdpa"
            theirs = tower(pixels, grid_thw=grid).pooler_output
        finally:
            tower.config._attn_implementation = VISION_NAME
    torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)
