"""A vLLM server is killed in the midst of its work. The file's name puts it behind the others that share the server,
and whoever kills it in here makes the next test start another."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from kill_helpers import after, apart, grpo, steps, write_config
from thinking_engine import ThinkingEngine
from vllm_server import VllmServer

from reasoner_rm.client.openai_client import OpenAIClient
from reasoner_rm.config import EndpointSection
from reasoner_rm.errors import ServiceError
from reasoner_rm.models.loading import Vlm
from reasoner_rm.rollout import GenerationRequest, SamplingParams, transformers_engine
from reasoner_rm.rollout.http_engine import HttpEngine
from reasoner_rm.tasks.render import Prompt

pytestmark = pytest.mark.engine


@pytest.mark.vllm
@pytest.mark.timeout(900)
def test_a_listener_that_is_killed_ends_training_which_goes_on_with_another(
    served: tuple[VllmServer, Vlm],
    _vllm_servers: list[VllmServer],
    tiny_folder: Path,
    tmp_path: Path,
    capsys: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By the shell's own verb: one line, exit code 1, a state; then the run ends where one without a fault ends."""
    monkeypatch.setattr(transformers_engine, "TransformersEngine", ThinkingEngine)
    server, _ = served
    config = write_config(
        tmp_path,
        model={"path": str(tiny_folder)},
        grpo={"rewards": "listener_belief"},
        listener={"endpoint": {"urls": ["x"], "retries": 2}, "min_mass": 0.0},
        engine={"name": "transformers"},
    )
    whole, hurt = tmp_path / "whole", tmp_path / "hurt"

    def at(server: VllmServer) -> tuple[str, str]:
        return "--set", f"listener.endpoint.urls=[{server.url}]"

    assert grpo(config, whole, *at(server)) == 0, capsys.readouterr().err
    assert all(step["reward/listener_belief"] > 0 for step in steps(whole)), "it was heard"
    killing = after(hurt, 2, server.kill)
    assert grpo(config, hurt, *at(server)) == 1
    killing.join()
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("error: ") and server.url in said and "is saved: go on from it with --resume" in said
    assert 2 <= len(steps(hurt)) < 4
    _vllm_servers.append(VllmServer(server.model, tmp_path / "vllm.log").wait())
    assert grpo(config, hurt, "--resume", *at(_vllm_servers[-1])) == 0, capsys.readouterr().err
    assert len(steps(hurt)) == 4 and apart(whole, hurt) < 1e-5


@pytest.mark.vllm
@pytest.mark.timeout(900)
def test_a_killed_server_ends_the_work_with_one_line(served: tuple[VllmServer, Vlm]) -> None:
    server, _ = served
    engine = HttpEngine(OpenAIClient(EndpointSection(urls=(server.url,), retries=2)))
    requests = [GenerationRequest(Prompt((f"question {i}",), (False,)), (0, 1, 2, 3)) for i in range(400)]
    stream = engine.stream(requests, SamplingParams(1.0, 200))
    next(stream)
    server.kill()
    began = time.monotonic()
    with pytest.raises(ServiceError, match="start it again, then run the same command again") as caught:
        list(stream)
    assert time.monotonic() - began < 60 and "\n" not in str(caught.value)
