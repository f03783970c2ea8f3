"""A vLLM server that follows the policy in training, its weights handed over through a folder."""

from __future__ import annotations

import resource
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from chat_server import ChatServer, Reply
from kill_helpers import after, apart, grpo, steps, write_config
from launch_helpers import train
from PIL import Image
from vllm_server import VllmServer

from reasoner_rm.client.openai_client import OpenAIClient
from reasoner_rm.config import EndpointSection
from reasoner_rm.errors import InputError, ServiceError
from reasoner_rm.models.loading import Vlm
from reasoner_rm.models.prompt_encoder import PromptEncoder
from reasoner_rm.models.weight_export import iter_full_weights
from reasoner_rm.rollout import GenerationRequest, SamplingParams
from reasoner_rm.rollout.synced_http import SyncedHttpEngine
from reasoner_rm.rollout.transformers_engine import TransformersEngine
from reasoner_rm.tasks.render import Prompt

pytestmark = pytest.mark.engine

FOLLOWER = "--worker-extension-cls", "reasoner_rm.rollout.vllm.worker_extension.WeightUpdateWorker"


@pytest.fixture(scope="module")
def start(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], VllmServer]]:
    """Starts a server of the untrained model that can follow."""
    servers: list[VllmServer] = []

    def one() -> VllmServer:
        log = tmp_path_factory.mktemp("following") / "vllm.log"
        servers.append(VllmServer(tiny_folder, log, *FOLLOWER, VLLM_SERVER_DEV_MODE="1").wait())
        return servers[-1]

    yield one
    for server in servers:
        server.kill()


@pytest.fixture(scope="module")
def follower(start: Callable[[], VllmServer]) -> VllmServer:
    return start()


def following(url: str, encoder: PromptEncoder, folder: Path, **settings: Any) -> SyncedHttpEngine:
    return SyncedHttpEngine(OpenAIClient(EndpointSection(urls=(url,), **settings)), encoder, folder)


@pytest.mark.vllm
@pytest.mark.timeout(900)
def test_it_answers_with_the_weights_that_it_was_handed(
    follower: VllmServer, tiny: Vlm, perturbed: Callable[..., Vlm], pictures: tuple[Image.Image, ...], tmp_path: Path
) -> None:
    """Two policies in turn, on the same prompts: keys, values and image features of the old one would show."""
    encoder = PromptEncoder(tiny)
    engine = following(follower.url, encoder, tmp_path)
    asked = [
        GenerationRequest(Prompt((p, "Which?", f"{i}"), (True, False, False)), (0,)) for i, p in enumerate(pictures)
    ]
    said = []
    for seed in (0, 1):
        policy = perturbed(tiny, seed=seed)
        engine.update_weights(iter_full_weights(policy))
        assert not [*tmp_path.iterdir()], "nothing is left lying"
        ours, want = (e.generate(asked, SamplingParams(0.0, 12)) for e in (engine, TransformersEngine(policy, encoder)))
        assert [c.token_ids for (c,) in ours] == [c.token_ids for (c,) in want]
        for (a,), (b,) in zip(ours, want, strict=True):
            assert a.logprobs == pytest.approx(b.logprobs, abs=1e-4)
        said.append([c.token_ids for (c,) in ours])
    assert said[0] != said[1]
    with pytest.raises(RuntimeError, match=r"not handed: .*visual"):
        engine.update_weights((n, w) for n, w in iter_full_weights(tiny) if "visual.patch_embed" not in n)


@pytest.mark.vllm
@pytest.mark.distributed
@pytest.mark.timeout(900)
def test_processes_share_a_server(follower: VllmServer, tiny_folder: Path, tmp_path: Path) -> None:
    """The first of two hands over what ZeRO-3 shares out between them; both are answered with it."""
    pytest.importorskip("deepspeed", reason="the extra `deepspeed` is not installed")
    engine = {
        "name": "http",
        "weight_sync_dir": str(tmp_path / "weight_sync_dir"),
        "endpoint": {"urls": [follower.url]},
    }
    section = {"max_steps": 3, "gradient_accumulation_steps": 1}
    both = train(tmp_path, {"model": str(tiny_folder), "kind": "zero3", "engine": engine, "section": section}, 2)
    assert both["world"] == 2 and both["kind"] == "DEEPSPEED"
    assert [row["sampler_logprob_gap_max"] < 1e-3 for row in both["log"]] == [True] * 3


@pytest.mark.vllm
@pytest.mark.timeout(900)
def test_a_server_that_is_killed_in_the_midst_of_training(
    follower: VllmServer, start: Callable[[], VllmServer], tiny_folder: Path, tmp_path: Path, capsys: Any
) -> None:
    """One line, exit code 1, a state; with another server the run goes on and ends where one without a fault ends."""
    config = write_config(
        tmp_path,
        model={"path": str(tiny_folder)},
        engine={
            "name": "http",
            "weight_sync_dir": str(tmp_path / "weight_sync_dir"),
            "endpoint": {"urls": ["x"], "retries": 2},
        },
    )
    whole, hurt = tmp_path / "whole", tmp_path / "hurt"

    def at(server: VllmServer) -> tuple[str, str]:
        return "--set", f"engine.endpoint.urls=[{server.url}]"

    assert grpo(config, whole, *at(follower)) == 0, capsys.readouterr().err
    assert all(step["sampler_logprob_gap_max"] < 1e-3 for step in steps(whole))
    killing = after(hurt, 2, follower.kill)
    assert grpo(config, hurt, *at(follower)) == 1
    killing.join()
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith(f"error: {follower.url}: ") and "is saved: go on from it with --resume" in said
    assert 2 <= len(steps(hurt)) < 4
    assert grpo(config, hurt, "--resume", *at(start())) == 0, capsys.readouterr().err
    assert len(steps(hurt)) == 4 and apart(whole, hurt) < 1e-5


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (Reply({"detail": "Not Found"}, 404), r"does not follow a policy.*start it with VLLM_SERVER_DEV_MODE=1 and"),
        (Reply({"error": {"message": "no attribute 'sees'"}}, 500), r"does not follow a policy .*no attribute"),
        (
            Reply({"results": [{"can_read": True}, {"can_read": False}]}),
            r"does not see the folder .*; set engine.weight_sync_dir",
        ),
    ],
)
def test_a_server_that_cannot_follow_is_refused_at_the_start(
    answer: Reply, message: str, serve: Callable[..., ChatServer], tiny: Vlm, tmp_path: Path
) -> None:
    models = Reply({"data": [{"id": "m", "owned_by": "vllm"}]})
    server = serve(lambda body: answer, models=models)
    with pytest.raises(InputError, match=message):
        following(server.url, PromptEncoder(tiny), tmp_path, retries=1)


@pytest.fixture
def willing(serve: Callable[..., ChatServer]) -> ChatServer:
    """Sees every folder, and says that it took over whatever it was handed."""
    said = {"can_read": {"can_read": True}, "load_weights_file": {"missing": []}}
    return serve(
        lambda body: Reply({"results": [said.get(body.get("method"), {})], "success": True}),
        models=Reply({"data": [{"id": "m", "owned_by": "vllm"}]}),
    )


def test_a_folder_that_is_none(willing: ChatServer, tiny: Vlm, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"/file: File exists; name a folder as engine.weight_sync_dir"):
        following(willing.url, PromptEncoder(tiny), tmp_path / "file")


def test_a_folder_that_is_full_is_one_line_and_nothing_stays_in_it(
    willing: ChatServer, tiny: Vlm, tmp_path: Path
) -> None:
    engine = following(willing.url, PromptEncoder(tiny), tmp_path)
    handler, (soft, hard) = signal.signal(signal.SIGXFSZ, signal.SIG_IGN), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, hard))
    try:
        with pytest.raises(
            ServiceError, match=r"cannot be written into .*; make room there, or set engine.weight_sync_dir"
        ):
            engine.update_weights(iter_full_weights(tiny))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert not [*tmp_path.iterdir()]
    engine.update_weights(iter_full_weights(tiny))


def test_every_replica_is_handed_the_weights_or_the_run_ends(
    serve: Callable[..., ChatServer], tiny: Vlm, tmp_path: Path
) -> None:
    """Old weights on one of two servers would be another policy for half of the prompts."""

    def willing(body: dict[str, Any]) -> Reply:
        match body.get("method"):
            case "can_read":
                return Reply({"results": [{"can_read": True}]})
            case "load_weights_file":
                assert Path(body["args"][0]).stat().st_size > 1e6
                return Reply({"results": [{"missing": []}]})
        return Reply({"success": True})

    models = Reply({"data": [{"id": "m", "owned_by": "vllm"}]})
    one, two = serve(willing, models=models), serve(willing, models=models)
    section = EndpointSection(urls=(one.url, two.url), retries=1)
    engine = SyncedHttpEngine(OpenAIClient(section), PromptEncoder(tiny), tmp_path)
    engine.update_weights(iter_full_weights(tiny))
    for server in (one, two):
        assert [body.get("method") for body in server.bodies] == ["can_read", "load_weights_file", None, None]
    two.stop()
    with pytest.raises(ServiceError, match=f":{two.port}/v1"):
        engine.update_weights(iter_full_weights(tiny))
    assert not [*tmp_path.iterdir()]
