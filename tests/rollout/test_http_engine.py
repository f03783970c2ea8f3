"""Rollouts from a server: nothing lost, nothing twice, and with vLLM the completions of the transformers engine."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from chat_server import ChatServer, FlakyProxy, Reply, chat
from PIL import Image
from random_prompts import prompt_of
from vllm_server import VllmServer

from reasoner_rm import Judge
from reasoner_rm.client.openai_client import OpenAIClient
from reasoner_rm.config import EndpointSection
from reasoner_rm.errors import InputError, ServiceError
from reasoner_rm.models.loading import Vlm, load_vlm
from reasoner_rm.models.prompt_encoder import PromptEncoder
from reasoner_rm.rollout import GenerationRequest, SamplingParams
from reasoner_rm.rollout.http_engine import HttpEngine
from reasoner_rm.rollout.transformers_engine import TransformersEngine
from reasoner_rm.serving.shared_engine import SharedEngine
from reasoner_rm.tasks.render import Prompt

Serve = Callable[..., ChatServer]


def engine(*urls: str, encoder: PromptEncoder | None = None, **settings: Any) -> HttpEngine:
    return HttpEngine(OpenAIClient(EndpointSection(urls=urls, **settings)), encoder)


def requests(n: int, count: int = 2) -> list[GenerationRequest]:
    return [GenerationRequest(Prompt((f"question {i}",), (False,)), tuple(range(count))) for i in range(n)]


def number(body: dict[str, Any]) -> str:
    return str(body["messages"][0]["content"][0]["text"]).removeprefix("question ")


# --- any server -----------------------------------------------------------------------------------------------------


def test_groups_come_as_they_are_ready_and_in_order_when_all_are_wanted(serve: Serve) -> None:
    server = serve(lambda body: Reply(chat(*[number(body)] * body["n"]), after=0.3 if number(body) == "0" else 0.0))
    asking = engine(server.url)
    assert asking.capabilities.concurrent and asking.capabilities.remote
    places = [place for place, _ in asking.stream(requests(6), SamplingParams())]
    assert sorted(places) == list(range(6)) and places[-1] == 0
    assert [[c.text for c in group] for group in asking.generate(requests(6), SamplingParams())] == [
        [str(i)] * 2 for i in range(6)
    ]
    assert {body["n"] for body in server.bodies} == {2} and len(server.bodies) == 12


def test_the_nucleus_is_the_servers_to_draw_from(serve: Serve) -> None:
    server = serve(lambda body: chat(*["x"] * body["n"]))
    for top_p in (1.0, 0.2):
        engine(server.url).generate(requests(1), SamplingParams(0.2, 9, top_p))
    assert [(body["top_p"], body["logprobs"]) for body in server.bodies] == [(1.0, True), (0.2, False)]


def test_an_image_travels_once_a_prompt_and_in_its_place(serve: Serve, pictures: tuple[Image.Image, ...]) -> None:
    server = serve(lambda body: chat(*["x"] * body["n"]))
    prompt = Prompt(("Image 1: ", pictures[0], "Image 2: ", pictures[1]), (False, True, False, True))
    engine(server.url).generate([GenerationRequest(prompt, tuple(range(8)))], SamplingParams())
    (body,) = server.bodies
    assert [part["type"] for part in body["messages"][0]["content"]] == ["text", "image_url"] * 2


def test_what_a_server_does_not_offer_is_done_without(serve: Serve, capsys: pytest.CaptureFixture[str]) -> None:
    """As OpenAI's reasoning models refuse: another name for the length, no log-probabilities, one choice at a time."""

    def answer(body: dict[str, Any]) -> Any:
        for name in ("max_tokens", "logprobs", "seed"):
            if name in body:
                words = f"Unsupported parameter: '{name}' is not supported with this model."
                return Reply({"error": {"message": words, "param": name}}, 400)
        if body.get("n", 1) > 1:
            return Reply({"error": {"message": "Only n=1 is supported", "param": "n"}}, 400)
        return chat(f"{number(body)}")

    server = serve(answer, models=("reasoner",))
    groups = engine(server.url).generate(requests(3, count=3), SamplingParams(1.0, 77))
    assert [[c.text for c in g] for g in groups] == [[str(i)] * 3 for i in range(3)]
    assert server.bodies[-1]["max_completion_tokens"] == 77 and "max_tokens" not in server.bodies[-1]
    assert capsys.readouterr().err.count("reasoner takes no 'logprobs'") == 1


def test_a_setting_of_a_wrong_size_is_not_taken_for_one_that_is_unknown(serve: Serve) -> None:
    error = {"error": {"message": "max_tokens is too large: 99; max_model_len=9", "param": "max_tokens"}}
    server = serve(lambda body: Reply(error, 400))
    with pytest.raises(InputError, match=r"too large: 99.*larger --max-model-len"):
        engine(server.url).generate(requests(1), SamplingParams())
    assert len(server.bodies) == 1


def test_too_few_choices_are_made_up_for_and_none_at_all_is_an_error(serve: Serve) -> None:
    server = serve(lambda body: chat(*["x"] * min(3, body["n"])))
    (group,) = engine(server.url).generate(requests(1, count=8), SamplingParams())
    assert len(group) == 8 and [body["n"] for body in server.bodies] == [8, 5, 2]
    assert len({body["seed"] for body in server.bodies}) == 3
    with pytest.raises(ServiceError, match="answers without completions"):
        engine(serve(lambda body: chat()).url).generate(requests(1), SamplingParams())


def test_reasoning_that_a_server_keeps_apart_is_put_back(serve: Serve) -> None:
    choice = {"message": {"content": "<answer>1</answer>", "reasoning": "because"}, "finish_reason": "length"}
    server = serve(lambda body: {"choices": [choice]})
    ((made,),) = engine(server.url).generate(requests(1, count=1), SamplingParams())
    assert (made.text, made.finish_reason) == ("<think>because</think><answer>1</answer>", "length")


@pytest.mark.parametrize("answer", [{"choices": "none"}, {"hello": 1}, [1], {"choices": [{"message": 3}]}])
def test_what_is_no_chat_completion_is_said(answer: Any, serve: Serve) -> None:
    server = serve(lambda body: Reply(answer))
    with pytest.raises(InputError, match="answers no chat completion"):
        engine(server.url).generate(requests(1), SamplingParams())


def test_a_judge_over_http(serve: Serve, pictures: tuple[Image.Image, ...]) -> None:
    server = serve(lambda body: "<think>The first fits.</think>\n<answer>Image 1 is better</answer>", models=("gpt",))
    judge = Judge.from_pretrained("gpt", "http", url=server.url)
    verdict = judge.compare("a 7", pictures[0], pictures[1])
    assert (verdict.preferred, verdict.consistent, verdict.votes) == (None, False, (0, 1))
    with pytest.raises(InputError, match="engine http needs a server"):
        Judge.from_pretrained("gpt", "http")


@pytest.mark.parametrize("deterministic", [False, True])
def test_callers_of_a_judge_do_not_wait_for_each_other(serve: Serve, deterministic: bool) -> None:
    """The first is answered only after the second; alone, one after the other, where that was asked for."""
    second, order = threading.Event(), []

    def answer(body: dict[str, Any]) -> dict[str, Any]:
        if number(body) == "0":
            second.wait(0.5 if deterministic else 30)
        else:
            second.set()
        return chat(number(body))

    server = serve(answer)
    shared = SharedEngine(engine(server.url), deterministic=deterministic)

    def ask(i: int) -> None:
        order.append(shared.generate(requests(2, count=1)[i : i + 1], SamplingParams())[0][0].text)

    first = threading.Thread(target=ask, args=(0,))
    first.start()
    while not server.bodies:
        time.sleep(0.001)
    ask(1)
    first.join()
    assert order == (["0", "1"] if deterministic else ["1", "0"])


# --- vLLM -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def prompts(pictures: tuple[Image.Image, ...]) -> list[Prompt]:
    return [
        Prompt((pictures[0], "Which image is better?"), (True, False)),
        Prompt(("Image 1: ", pictures[1], "Image 2: ", pictures[2], "A red square"), (False, True, False, True, False)),
        Prompt(("a 7",), (False,)),
    ]


@pytest.mark.vllm
@pytest.mark.timeout(900)
def test_greedy_completions_are_those_of_transformers(served: tuple[VllmServer, Vlm]) -> None:
    """64 prompts in fp32, two completions each."""
    server, vlm = served
    encoder = PromptEncoder(vlm)
    asked = [GenerationRequest(prompt_of(seed), (0, 1)) for seed in range(64)]
    ours = engine(server.url, encoder=encoder).generate(asked, SamplingParams(0.0, 24))
    want = TransformersEngine(vlm, encoder).generate(asked, SamplingParams(0.0, 24))
    for one, two in zip(ours, want, strict=True):
        for a, b in zip(one, two, strict=True):
            assert (a.token_ids, a.text, a.finish_reason) == (b.token_ids, b.text, b.finish_reason)
            assert a.logprobs == pytest.approx(b.logprobs, abs=1e-4)


@pytest.mark.vllm
@pytest.mark.timeout(900)
def test_sampled_log_probabilities_are_the_trainers(served: tuple[VllmServer, Vlm], prompts: list[Prompt]) -> None:
    import torch

    from reasoner_rm.models.group_logprobs import shared_prefix_logprobs

    server, vlm = served
    encoder = PromptEncoder(vlm)
    asked = [GenerationRequest(p, (10 * i, 10 * i + 1, 10 * i + 2)) for i, p in enumerate(prompts)]
    groups = engine(server.url, encoder=encoder).generate(asked, SamplingParams(0.7, 16))
    assert [len({c.token_ids for c in g}) for g in groups] == [3, 3, 3]
    batch = encoder.batch([encoder.encode(p) for p in prompts])
    with torch.no_grad():
        out = shared_prefix_logprobs(vlm, batch, [[c.token_ids for c in g] for g in groups], temperature=0.7)
    for row, completion in enumerate(c for g in groups for c in g):
        assert not set(completion.token_ids) & set(vlm.banned_token_ids)
        assert out.logprobs[row, : len(completion.logprobs)].tolist() == pytest.approx(completion.logprobs, abs=1e-4)
        assert completion.finish_reason == "length" or completion.token_ids[-1] in vlm.stop_token_ids


@pytest.mark.vllm
@pytest.mark.timeout(900)
def test_four_clients_and_a_flaky_proxy_lose_nothing(
    served: tuple[VllmServer, Vlm], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each client's answers equal those of one that asked alone: none is lost, none is another's."""
    monkeypatch.setattr("reasoner_rm.client.openai_client.FIRST_WAIT", 0.01)
    server, _ = served
    asked = [GenerationRequest(Prompt((f"{i}",), (False,)), (i, i)) for i in range(48)]
    sampling = SamplingParams(1.0, 6)
    alone = engine(server.url).generate(asked, sampling)
    harms: tuple[Any, ...] = (None, None, Reply(), None, True, None, Reply({}, 500), None, Reply({}, 429), 0.1, None)
    proxy = FlakyProxy(server.url, lambda n: harms[n % len(harms)])
    found: dict[int, Any] = {}

    def client(name: int) -> None:
        found[name] = engine(proxy.url, concurrency=8, retries=8).generate(asked[12 * name : 12 * name + 12], sampling)

    threads = [threading.Thread(target=client, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    proxy.stop()
    assert proxy.posts > 48
    assert [[c.token_ids for c in g] for name in range(4) for g in found[name]] == [
        [c.token_ids for c in g] for g in alone
    ]


@pytest.mark.vllm
@pytest.mark.timeout(900)
def test_bad_requests_to_vllm_are_one_line(served: tuple[VllmServer, Vlm]) -> None:
    server, vlm = served
    with pytest.raises(InputError, match="has no model 'other'; it serves: tiny"):
        engine(server.url, model="other")
    with pytest.raises(InputError, match=re.escape("lower max_completion_length")) as caught:
        engine(server.url).generate(requests(1), SamplingParams(1.0, 5000))
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match=r"max_completion_length or model\.max_pixels"):
        engine(server.url).generate(
            [GenerationRequest(Prompt(("word " * 3000,), (False,)), (0,))], SamplingParams(1.0, 5)
        )
    finer = PromptEncoder(load_vlm(vlm.source, device="cpu", min_pixels=112**2, max_pixels=112**2))
    with pytest.raises(InputError, match=r"reads a prompt of \d+ tokens, the trainer one of \d+; serve the same"):
        shown = Prompt((Image.new("RGB", (200, 200)),), (True,))
        engine(server.url, encoder=finer).generate([GenerationRequest(shown, (0,))], SamplingParams(1.0, 5))
