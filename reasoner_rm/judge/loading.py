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
    path_or_id: str | Path, engine: EngineName, config: JudgeConfig, *, dtype: str, isolate: bool
) -> RolloutEngine:
    """Load the model with the judge's own pixel bounds; arguments as in `Judge.from_pretrained`.

    Raises:
        InputError: no such model, a broken or unsupported one, an engine that is not installed.
    """
    low, high = config.min_pixels, config.max_pixels
    if isolate and resolve_engine(engine).name == "transformers":
        return open_process_engine(ModelSpec(str(path_or_id), dtype, low, high))
    return load_engine(path_or_id, engine, dtype=dtype, min_pixels=low, max_pixels=high)


def open_served(path_or_id: str | Path, url: str | None) -> RolloutEngine:
    """The engine of a model on a server; arguments as in `Judge.from_pretrained`.

    Raises:
        InputError: no address, or a server that does not answer or has no such model.
    """
    return load_engine(path_or_id, "http", endpoint=endpoint_at(url, path_or_id) if url else None)
