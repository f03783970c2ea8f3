"""vLLM's CPU backend packs every linear weight after loading and drops the original: what is loaded later is lost.

The loss is silent (the packed copy goes on answering), so packing is off for every engine whose weights are to change.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def no_weight_packing() -> Iterator[None]:
    """While an engine is built: as :func:`keep_weights`."""
    from vllm.model_executor.layers import utils

    packing = utils.dispatch_cpu_unquantized_gemm
    keep_weights()
    try:
        yield
    finally:
        utils.dispatch_cpu_unquantized_gemm = packing


def keep_weights() -> None:
    """From now on, on a CPU: linear layers of new engines keep their weights and multiply with them."""
    from vllm.model_executor.layers import utils
    from vllm.platforms import current_platform

    if current_platform.is_cpu():
        # Compiled by inductor the counting of ranks costs a minute at the first request, and is never used here.
        type(current_platform).simple_compile_backend = "eager"
        utils.dispatch_cpu_unquantized_gemm = _plain


def _plain(layer: Any, remove_weight: bool) -> None:
    layer.cpu_linear = torch.nn.functional.linear
