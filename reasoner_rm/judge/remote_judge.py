"""A judge that is served elsewhere, as if it were here: its own questions, somebody else's GPU."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from reasoner_rm.config import EndpointSection
from reasoner_rm.errors import InputError
from reasoner_rm.rollout import RolloutEngine
from reasoner_rm.tasks.render import Template

if TYPE_CHECKING:
    from reasoner_rm.models.judge_checkpoint import JudgeConfig

KEY = "OPENAI_API_KEY"


def fetch_info(url: str) -> dict[str, Any]:
    """What `reasoner-rm serve` says about its judge.

    Args:
        url: up to and without `/v1`. The key comes from the environment (OPENAI_API_KEY).

    Raises:
        InputError: nothing is there, it wants a key, or it is no judge's server.
    """
    import httpx

    head = {"Authorization": f"Bearer {os.environ[KEY]}"} if os.environ.get(KEY) else {}
    try:
        answer = httpx.get(f"{url.rstrip('/')}/v1/judge", headers=head, timeout=30)
        if answer.status_code == 401:
            raise InputError(f"{url} wants a key", remedy=f"put it into the environment as {KEY}")
        found = answer.raise_for_status().json()
        return {
            name: found[name] for name in ("model", "task", "is_base_model", "template", "temperature", "max_tokens")
        }
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, TypeError) as error:
        remedy = "start it with reasoner-rm serve, or ask vLLM by from_pretrained(…, engine='http', url=…)"
        raise InputError(f"{url} is no judge's server ({type(error).__name__})", remedy=remedy) from None


def card_of(found: dict[str, Any]) -> JudgeConfig:
    """How the judge there wants to be asked."""
    from reasoner_rm.models.judge_checkpoint import JudgeConfig

    template = Template(str(found["template"]["name"]), str(found["template"]["text"]))
    return JudgeConfig(str(found["task"]), template, temperature=float(found["temperature"]))


def engine_at(url: str, model: str) -> RolloutEngine:
    """The server's engine, which takes whole prompts under the name ``MODEL:raw``."""
    from reasoner_rm.client.openai_client import OpenAIClient
    from reasoner_rm.rollout.http_engine import HttpEngine

    return HttpEngine(OpenAIClient(EndpointSection(urls=(f"{url.rstrip('/')}/v1",), model=f"{model}:raw")))
