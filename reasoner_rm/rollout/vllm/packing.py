"""vLLM's CPU backend packs every linear weight after loading and drops the original: what is loaded later is lost.

The loss is silent (the packed copy goes on answering), so packing is off for every engine that is started here.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def weights_stay() -> Iterator[None]:
    """While an engine is built, on a CPU: linear layers keep their weights and multiply with them."""
    from vllm.model_executor.layers import utils
    from vllm.platforms import current_platform

    if not current_platform.is_cpu():
        yield
        return
    packing = utils.dispatch_cpu_unquantized_gemm
    # Compiled by inductor the counting of ranks costs a minute at the first request, and is never used here.
    type(current_platform).simple_compile_backend = "eager"
    utils.dispatch_cpu_unquantized_gemm = _plain
    try:
        yield
    finally:
        utils.dispatch_cpu_unquantized_gemm = packing


def _plain(layer: Any, remove_weight: bool) -> None:
    layer.cpu_linear = torch.nn.functional.linear
