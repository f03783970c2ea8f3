"""The engine that runs a judge's model: in this process, in a process of its own, or on an OpenAI-compatible server."""

from __future__ import annotations

from pathlib import Path

from reasoner_rm.config import EngineName
from reasoner_rm.models.judge_checkpoint import JudgeConfig
from reasoner_rm.rollout import RolloutEngine
from reasoner_rm.rollout.factory import endpoint_at, load_engine, resolve_engine
from reasoner_rm.serving.ipc import ModelSpec
from reasoner_rm.serving.process_engine import open_process_engine


def load_judge_engine(
    path_or_id: str | Path,
    engine: EngineName,
    config: JudgeConfig,
    *,
    dtype: str,
    max_pixels: int | None = None,
    isolate: bool = False,
) -> RolloutEngine:
    """Load the model with the judge's own pixel bounds, or ``max_pixels``; arguments as in `Judge.from_pretrained`.

    Raises:
        InputError: no such model, a broken or unsupported one, an engine that is not installed.
    """
    low, high = pixel_bounds(config, max_pixels)
    if isolate and resolve_engine(engine).name == "transformers":
        return open_process_engine(ModelSpec(str(path_or_id), dtype, low, high))
    return load_engine(path_or_id, engine, dtype=dtype, min_pixels=low, max_pixels=high)


def pixel_bounds(config: JudgeConfig | None, max_pixels: int | None) -> tuple[int | None, int | None]:
    """The least and the most pixels of an image: those of the judge, if it is one, and at most ``max_pixels``."""
    low, high = (config.min_pixels, config.max_pixels) if config else (None, None)
    if max_pixels is None:
        return low, high
    return None if low is None else min(low, max_pixels), max_pixels


def open_served(path_or_id: str | Path, url: str | None) -> RolloutEngine:
    """The engine of a model on a server; arguments as in `Judge.from_pretrained`.

    Raises:
        InputError: no address, or a server that does not answer or has no such model.
    """
    return load_engine(path_or_id, "http", endpoint=endpoint_at(url, path_or_id) if url else None)
