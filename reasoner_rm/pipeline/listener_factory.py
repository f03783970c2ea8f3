"""The listener that a run's config names."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from reasoner_rm.client.openai_client import OpenAIClient
from reasoner_rm.config import Config
from reasoner_rm.errors import InputError
from reasoner_rm.listener import Listener, frozen_listener
from reasoner_rm.models.loading import Vlm, load_vlm
from reasoner_rm.rollout.base import closing
from reasoner_rm.rollout.factory import resolve_engine
from reasoner_rm.rollout.http_engine import HttpEngine
from reasoner_rm.rollout.vllm.engine import VllmEngine
from reasoner_rm.tasks.render import Template

POLICY_BASE = "policy"
LISTENER_OPTIONS = ("temperature", "strip_verdict", "both_orders", "min_mass")
"""Settings of a section that every listener has."""


@contextmanager
def open_listener(config: Config, template: Template, lender: Vlm | None = None) -> Iterator[Listener | None]:
    """The frozen model that reads reasonings, with the policy's own prompt and image bounds; closed at the end.

    Args:
        lender: the policy that is being trained, for ``listener.path: policy``; without one, the run's base.

    Raises:
        InputError: the policy should lend its base, but every weight of it is trained or vLLM should hear; an engine
            that is not there; or a server cannot be used.
    """
    section, model = config.listener, config.model
    settings = {name: getattr(section, name) for name in LISTENER_OPTIONS}
    lent, on_vllm = section.path == POLICY_BASE, section.engine == "vllm"
    if on_vllm and (lent or section.endpoint is not None):
        what = "the policy hears itself" if lent else "a server hears"
        raise InputError(
            f"listener.engine is vllm, but {what}",
            remedy="name a model as listener.path, without listener.endpoint; or set listener.engine to transformers",
        )
    if section.endpoint is not None:
        engine = HttpEngine(OpenAIClient(section.endpoint))
        engine.options  # noqa: B018  # a server that cannot be used is refused before anything is trained
        yield Listener(engine, template, max_failure_rate=section.max_failure_rate, **settings)
        return
    if section.path is None:
        yield None
        return
    if lent and model.lora is None:
        raise InputError("listener.path is `policy`, whose weights are all trained", remedy="set model.lora")
    if lent and lender is not None:
        yield frozen_listener(lender, template, **settings)
        return
    here = resolve_engine(section.engine).name == "transformers"
    path = model.path if lent else section.path
    low, high = model.min_pixels, model.max_pixels
    vlm = load_vlm(path, dtype=section.dtype, min_pixels=low, max_pixels=high, weights=here)
    if here:
        yield frozen_listener(vlm, template, **settings)
        return
    share = {"dtype": "auto", "gpu_memory_utilization": section.gpu_memory_utilization}
    with closing(VllmEngine(vlm, config.engine.model_copy(update=share))) as on_gpu:
        yield Listener(on_gpu, template, **settings)
