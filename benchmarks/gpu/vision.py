"""Qwen2.5-VL's vision tower, whose windows and images attend to themselves: one call a layer against SDPA's loop."""

from __future__ import annotations

from typing import Any

import torch
from harness import CUDA, DEVICE, SMOKE, attempt, launches, milliseconds, put, relative_error
from transformers.models.qwen2_5_vl.configuration_qwen2_5_vl import Qwen2_5_VLVisionConfig
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VisionTransformerPretrainedModel

from reasoner_rm.models.attention import VISION_NAME

torch.backends.cuda.enable_cudnn_sdp(False)
config = Qwen2_5_VLVisionConfig(
    depth=2 if SMOKE else 32,
    hidden_size=1280,
    num_heads=16,
    intermediate_size=3420,
    out_hidden_size=2048,
    window_size=112,
    fullatt_block_indexes=[7, 15, 23, 31],
    attn_implementation="sdpa",
)
with torch.device(DEVICE):
    tower = Qwen2_5_VisionTransformerPretrainedModel(config).to(torch.bfloat16 if CUDA else torch.float32).eval()
SHAPES = {
    "2 images of 392 px": [[1, 28, 28]] * 2,
    "32 images of 392 px": [[1, 28, 28]] * 32,
    "1 of 1792 px": [[1, 128, 128]],
}
if SMOKE:
    SHAPES = {"2 images of 112 px": [[1, 8, 8]] * 2}


@torch.no_grad()
def measure(name: str, grids: list[list[int]]) -> tuple[dict[str, Any], torch.Tensor]:
    tower.config._attn_implementation = name
    grid = torch.tensor(grids, device=DEVICE)
    torch.manual_seed(0)
    pixels = torch.randn(int(grid.prod(1).sum()), 1176, device=DEVICE, dtype=tower.dtype)

    def work() -> torch.Tensor:
        return tower(pixels, grid_thw=grid).pooler_output

    return {"ms": milliseconds(work, 3, 1), "launches": launches(work)}, work()


for what, grids in SHAPES.items():
    states: dict[str, torch.Tensor] = {}
    for label, name in (("sdpa", "sdpa"), ("ours", VISION_NAME)):

        def work(label: str = label, name: str = name, grids: Any = grids, states: Any = states) -> dict[str, Any]:
            figures, states[label] = measure(name, grids)
            return figures

        attempt(f"{what}: {label}", work, 8)
    if len(states) == 2:
        put(f"{what}: ours differs by", relative_error(states["ours"], states["sdpa"]))
