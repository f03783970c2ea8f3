"""A vLLM server is killed in the midst of its work. The file's name puts it behind the others that share the server,
and whoever kills it in here makes the next test start another."""

from __future__ import annotations

import copy
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from killing import after, apart, grpo, steps, write_config
from PIL import Image
from test_remote_listener import TEMPLATE, Thinking
from vllm_server import VllmServer

from reasoner_rm.config import EndpointSection, GrpoSection
from reasoner_rm.data.endpoint import Endpoint
from reasoner_rm.errors import ServiceError
from reasoner_rm.listener import Listener
from reasoner_rm.listener.remote_listener import RemoteListener
from reasoner_rm.listener.transformers_listener import TransformersListener
from reasoner_rm.policy.loading import Vlm
from reasoner_rm.policy.prompts import PromptEncoder
from reasoner_rm.rollout import Request, Sampling
from reasoner_rm.rollout.http_engine import HttpEngine
from reasoner_rm.schema import Sample
from reasoner_rm.tasks.render import Prompt
from reasoner_rm.training.checkpoints import Checkpoints
from reasoner_rm.training.grpo import GroupTrainer


@pytest.mark.vllm
@pytest.mark.timeout(900)
def test_a_killed_server_ends_the_work_with_one_line(served: tuple[VllmServer, Vlm]) -> None:
    server, _ = served
    engine = HttpEngine(Endpoint(EndpointSection(urls=(server.url,), retries=2)))
    requests = [Request(Prompt((f"question {i}",), (False,)), (0, 1, 2, 3)) for i in range(400)]
    stream = engine.stream(requests, Sampling(1.0, 200))
    next(stream)
    server.kill()
    began = time.monotonic()
    with pytest.raises(ServiceError, match="start it again, then run the same command again") as caught:
        list(stream)
    assert time.monotonic() - began < 60 and "\n" not in str(caught.value)


@pytest.mark.vllm
@pytest.mark.timeout(900)
def test_a_training_whose_listener_is_killed_goes_on_from_its_state(
    served: tuple[VllmServer, Vlm], tiny: Vlm, pictures: tuple[Image.Image, ...], tmp_path: Path
) -> None:
    """On a real server up to the second step, then with the same listener in this process."""
    server, heard = served
    samples = [Sample(str(i), "image_preference", "a 3", pictures[i : i + 2], gold={"p_first": 1.0}) for i in (0, 1)]
    section = GrpoSection(
        rewards="listener_belief", accumulation=2, num_generations=3, max_steps=5, max_completion_length=6,
        rollouts_every=1,
    )  # fmt: skip
    steps: list[int] = []

    def trainer(listener: Listener) -> GroupTrainer:
        vlm = replace(tiny, model=copy.deepcopy(tiny.model))
        encoder = PromptEncoder(vlm)
        return GroupTrainer(
            vlm, TEMPLATE, samples, section, engine=Thinking(vlm, encoder), encoder=encoder, seed=0, listener=listener,
            on_groups=lambda step, scored: server.kill() if step == 1 else None,
            log=lambda step, line: steps.append(step), checkpoints=Checkpoints(tmp_path / "states", 50, 2),
        )  # fmt: skip

    settings = EndpointSection(urls=(server.url,), retries=1)
    with pytest.raises(ServiceError, match=r"the listener failed on 100%.* after step 2 is saved: go on .* --resume"):
        trainer(RemoteListener(Endpoint(settings), TEMPLATE, min_mass=0.0)).train()
    assert steps == [1, 2]
    trainer(TransformersListener(heard, TEMPLATE, min_mass=0.0)).train(resume=True)
    assert steps == [1, 2, 3, 4, 5]


@pytest.mark.vllm
@pytest.mark.timeout(900)
def test_a_listener_that_is_killed_ends_training_which_goes_on_with_another(
    served: tuple[VllmServer, Vlm], _vllm_servers: list[VllmServer], tmp_path: Path, capsys: Any
) -> None:
    """One line, exit code 1, a state; then the run ends where one without a fault ends."""
    server, _ = served
    config = write_config(
        tmp_path,
        model={"path": "builtin:pocket-base"},
        grpo={"rewards": "listener", "num_generations": 4, "max_completion_length": 48},
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
