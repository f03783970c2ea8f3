"""Returning memory of models that nobody uses any more."""

from __future__ import annotations

import gc

import torch


def release_memory() -> None:
    """Collect models that refer to each other with what trained them, which would otherwise live on beside the next
    ones, and give their memory on a GPU back."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
