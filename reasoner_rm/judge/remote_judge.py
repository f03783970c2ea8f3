"""A judge on a `reasoner-rm serve` server: prompts are rendered and answers parsed here, the model runs there."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from reasoner_rm.config import EndpointSection
from reasoner_rm.errors import InputError
from reasoner_rm.rollout import RolloutEngine
from reasoner_rm.tasks.render import Template

if TYPE_CHECKING:
    from reasoner_rm.models.judge_checkpoint import JudgeConfig

API_KEY_ENV = "OPENAI_API_KEY"
TIMEOUT = 30.0
"""Seconds for the answer."""
FIELDS = ("model", "task", "is_base_model", "template", "temperature", "max_tokens")


def fetch_info(url: str) -> dict[str, Any]:
    """The server's answer to `GET /v1/judge`: its model, task, prompt template, temperature and token limit.

    Args:
        url: without `/v1`. The API key comes from the environment (OPENAI_API_KEY).

    Raises:
        InputError: no address, no answer, a missing key, or another kind of server.
    """
    import httpx

    from reasoner_rm.utils.http_client import ADDRESS_ERRORS, describe, open_client, through

    headers = {"Authorization": f"Bearer {os.environ[API_KEY_ENV]}"} if os.environ.get(API_KEY_ENV) else {}
    try:
        with open_client(timeout=TIMEOUT) as client:
            response = client.get(f"{url.rstrip('/')}/v1/judge", headers=headers)
    except ADDRESS_ERRORS as error:
        raise InputError(f"{url!r} is no address ({error})", remedy="give http://HOST:PORT") from None
    except httpx.HTTPError as error:
        raise InputError(f"{url} does not answer ({describe(error)})", remedy="start reasoner-rm serve there") from None
    if response.status_code == 401:
        raise InputError(f"{url} needs an API key", remedy=f"set the environment variable {API_KEY_ENV}")
    try:
        info = response.raise_for_status().json()
        return {name: info[name] for name in FIELDS}
    except (httpx.HTTPError, ValueError, LookupError, TypeError):
        raise InputError(
            f"{url} is not a judge server (it answers {response.status_code}{through(url)})",
            remedy="start it with reasoner-rm serve, or ask vLLM by from_pretrained(…, engine='http', url=…)",
        ) from None


def remote_config(info: dict[str, Any]) -> JudgeConfig:
    """The task, template and temperature that a server's judge was trained with."""
    from reasoner_rm.models.judge_checkpoint import JudgeConfig

    template = Template(str(info["template"]["name"]), str(info["template"]["text"]))
    return JudgeConfig(str(info["task"]), template, temperature=float(info["temperature"]))


def remote_engine(url: str, model: str) -> RolloutEngine:
    """The server's engine, which continues rendered prompts under the model name ``MODEL:raw``."""
    from reasoner_rm.client.openai_client import OpenAIClient
    from reasoner_rm.rollout.http_engine import HttpEngine

    return HttpEngine(OpenAIClient(EndpointSection(urls=(f"{url.rstrip('/')}/v1",), model=f"{model}:raw")))
