"""A vLLM server is killed in the midst of its work. The file's name puts it behind the others that share the server,
and whoever kills it in here makes the next test start another."""

from __future__ import annotations

import copy
import time
from dataclasses import replace
from pathlib import Path

import pytest
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
