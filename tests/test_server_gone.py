"""A vLLM server is killed in the midst of its work. The file's name puts it behind the others that share the server."""

from __future__ import annotations

import time

import pytest
from vllm_server import VllmServer

from reasoner_rm.config import EndpointSection
from reasoner_rm.data.endpoint import Endpoint
from reasoner_rm.errors import ServiceError
from reasoner_rm.policy.loading import Vlm
from reasoner_rm.rollout import Request, Sampling
from reasoner_rm.rollout.http_engine import HttpEngine
from reasoner_rm.tasks.render import Prompt


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
