"""Loading the listener of a run's configuration."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from reasoner_rm.client.openai_client import OpenAIClient
from reasoner_rm.config import Config
from reasoner_rm.errors import InputError
from reasoner_rm.listener import Listener, frozen_listener
from reasoner_rm.models.loading import load_vlm
from reasoner_rm.models.prompt_encoder import PromptEncoder
from reasoner_rm.rollout.base import closing
from reasoner_rm.rollout.factory import resolve_engine
from reasoner_rm.rollout.http_engine import HttpEngine
from reasoner_rm.rollout.vllm.engine import VllmEngine
from reasoner_rm.tasks.render import Template

POLICY_BASE = "policy"
LISTENER_OPTIONS = ("temperature", "strip_verdict", "both_orders", "min_mass")
"""The settings that every kind of listener takes."""


def has_listener(config: Config) -> bool:
    """Whether the run has a listener."""
    return config.listener.endpoint is not None or config.listener.path is not None


def check_listener(config: Config) -> None:
    """Check that a listener's settings go together.

    Raises:
        InputError: ``listener.path: policy`` without LoRA or with vLLM; vLLM and a server.
    """
    section = config.listener
    uses_base, served = section.path == POLICY_BASE, section.endpoint is not None
    if section.engine == "vllm" and (uses_base or served):
        reason = "listener.path is policy" if uses_base else "listener.endpoint is set"
        raise InputError(
            f"listener.engine is vllm, but {reason}",
            remedy="name a model as listener.path, without listener.endpoint; or set listener.engine to transformers",
        )
    if uses_base and not served and config.model.lora is None:
        raise InputError("listener.path is `policy`, but all of its weights are trained", remedy="set model.lora")


@contextmanager
def open_listener(config: Config, template: Template, policy: PromptEncoder | None = None) -> Iterator[Listener | None]:
    """A context manager: the run's listener, with the policy's prompt template and pixel bounds; None if it has none.

    Args:
        policy: the encoder of the trained policy, whose base is the listener with ``listener.path: policy``; None: load
            the base.

    Raises:
        InputError: ``listener.path: policy`` without LoRA or with vLLM; an engine that is not installed; a server
            that cannot be used.
    """
    check_listener(config)
    section, model = config.listener, config.model
    settings = {name: getattr(section, name) for name in LISTENER_OPTIONS}
    uses_base = section.path == POLICY_BASE
    if section.endpoint is not None:
        engine = HttpEngine(OpenAIClient(section.endpoint))
        engine.options  # noqa: B018  # checks the server before anything is trained
        yield Listener(engine, template, max_failure_rate=section.max_failure_rate, **settings)
        return
    if section.path is None:
        yield None
        return
    if uses_base and policy is not None:
        yield frozen_listener(policy.vlm, template, encoder=policy, **settings)
        return
    on_transformers = resolve_engine(section.engine).name == "transformers"
    path = model.path if uses_base else section.path
    low, high = model.min_pixels, model.max_pixels
    vlm = load_vlm(path, dtype=section.dtype, min_pixels=low, max_pixels=high, weights=on_transformers)
    if on_transformers:
        yield frozen_listener(vlm, template, **settings)
        return
    share = {"dtype": "auto", "gpu_memory_utilization": section.gpu_memory_utilization}
    with closing(VllmEngine(vlm, config.engine.model_copy(update=share))) as vllm_engine:
        yield Listener(vllm_engine, template, **settings)
