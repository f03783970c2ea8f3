"""The LM head of a policy: called once a pass, in however many parts its logits are worked on.

Each call of a sharded module brings its weights together, which all processes have to do equally often; how many parts
there are depends on how much each of them has to read.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor

Head: TypeAlias = Callable[[Tensor], Tensor]


def patch_lm_head(head: torch.nn.Module) -> None:
    """Teach a head the keyword ``within``: a function of the states that it was called with, which may use its weights
    as often as it likes and whose result the call returns."""
    head.forward = _Lent(head)  # type: ignore[method-assign]


class _Lent:
    def __init__(self, head: torch.nn.Module):
        self.head = head

    def __call__(self, hidden: Tensor, within: Callable[[Tensor], Any] | None = None) -> Any:
        return type(self.head).forward(self.head, hidden) if within is None else within(hidden)
