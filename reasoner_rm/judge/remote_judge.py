"""A judge on a `reasoner-rm serve` server: prompts are rendered and answers parsed here, the model runs there."""

from __future__ import annotations

from dataclasses import dataclass

from reasoner_rm.client.openai_client import OpenAIClient
from reasoner_rm.config import EndpointSection
from reasoner_rm.errors import InputError
from reasoner_rm.models.judge_checkpoint import JudgeConfig
from reasoner_rm.rollout import RolloutEngine
from reasoner_rm.rollout.http_engine import HttpEngine
from reasoner_rm.tasks.render import Template


@dataclass(frozen=True, slots=True)
class ServedJudge:
    """What a server says about its judge; see `Judge` for the fields."""

    name: str
    config: JudgeConfig
    is_base_model: bool
    max_tokens: int


def served_judge(engine: RolloutEngine) -> ServedJudge | None:
    """The judge behind an engine; None where it is not on a judge's server.

    Raises:
        InputError: the server describes no judge.
        ServiceError: it stopped answering.
    """
    if not isinstance(engine, HttpEngine) or not engine.is_judge_server:
        return None
    info = engine.endpoint.judge_info or {}
    try:
        template = Template(str(info["template"]["name"]), str(info["template"]["text"]))
        config = JudgeConfig(str(info["task"]), template, temperature=float(info["temperature"]))
        return ServedJudge(str(info["model"]), config, bool(info["is_base_model"]), int(info["max_tokens"]))
    except (KeyError, TypeError, ValueError):
        url = engine.endpoint.urls[0]
        raise InputError(f"{url} describes no judge", remedy="serve it with this version of reasoner-rm") from None


def connect(url: str) -> tuple[HttpEngine, ServedJudge]:
    """The engine of a server, which continues rendered prompts, and its judge.

    Args:
        url: the server's address, with or without `/v1`. The API key comes from the environment (OPENAI_API_KEY).

    Raises:
        InputError: no address, no answer, a missing key, or another kind of server.
    """
    base = url.rstrip("/").removesuffix("/v1")
    engine = HttpEngine(OpenAIClient(EndpointSection(urls=(f"{base}/v1",))))
    judge = served_judge(engine)
    if judge is None:
        remedy = "start it with reasoner-rm serve, or ask vLLM by from_pretrained(…, engine='http', url=…)"
        raise InputError(f"{url} is not a judge server", remedy=remedy)
    return engine, judge
