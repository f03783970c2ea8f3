"""A listener behind a server: it believes what the same model believes here; what fails is a None that is counted."""

from __future__ import annotations

import copy
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
from chat_server import ChatServer, FlakyProxy, Reply
from PIL import Image
from thinking_engine import TEXTS, ThinkingEngine
from vllm_server import VllmServer

from reasoner_rm.client.openai_client import OpenAIClient
from reasoner_rm.config import EndpointSection, GrpoSection
from reasoner_rm.errors import InputError, ServiceError
from reasoner_rm.listener import Listener, frozen_listener
from reasoner_rm.listener.overlap import OverlappedListening
from reasoner_rm.models.loading import Vlm
from reasoner_rm.models.prompt_encoder import PromptEncoder
from reasoner_rm.rollout import GenerationRequest, SamplingParams
from reasoner_rm.rollout.http_engine import HttpEngine
from reasoner_rm.schema import Completion, Group, Sample, ScoredGroup
from reasoner_rm.tasks.render import load_template
from reasoner_rm.training.checkpoints import Checkpoints
from reasoner_rm.training.grpo import GRPOTrainer

TEMPLATE = load_template("image_preference", "brief")
THOUGHT = "<think>A 7 and a 3.</think><answer>Image 1 is better</answer>"
Serve = Callable[..., ChatServer]


@pytest.fixture
def samples(pictures: tuple[Image.Image, ...]) -> list[Sample]:
    one = Sample("a", "image_preference", "a 3", images=pictures[:2], gold={"p_first": 0.0})
    return [one, one.swapped(), Sample("b", "image_preference", "a 7", images=pictures[1:], gold={"p_first": 1.0})]


def remote(url: str, template: Any = TEMPLATE, endpoint: dict[str, Any] | None = None, **how: Any) -> Listener:
    client = OpenAIClient(EndpointSection(urls=(url,), **(endpoint or {})))
    engine = HttpEngine(client, banned_token_ids=how.pop("banned_token_ids", ()))
    assert engine.options.vllm == engine.vllm  # asks the server whether it can
    return Listener(engine, template, **how)


def told(**logprobs: float) -> dict[str, Any]:
    top = [{"token": token.removeprefix("_"), "logprob": value} for token, value in logprobs.items()]
    return {"choices": [{"message": {"content": "x"}, "logprobs": {"content": [{**top[0], "top_logprobs": top}]}}]}


# --- any server -----------------------------------------------------------------------------------------------------


def test_the_likeliest_tokens_are_searched_for_the_options(serve: Serve, samples: list[Sample]) -> None:
    server = serve(lambda body: told(_1=-0.5, _2=-1.5, x=-3.0))
    ((belief,),) = remote(server.url).beliefs(samples[:1], [[THOUGHT]])
    assert belief is not None and belief.options == ("1", "2")
    assert belief.probs == pytest.approx((0.7311, 0.2689), abs=1e-4) and belief.option_mass == pytest.approx(
        0.8297, abs=1e-4
    )
    (body,) = server.bodies
    assert body["messages"][1] == {"role": "assistant", "content": "<think>A 7 and a 3.</think>\n<answer>Image "}
    assert (body["continue_final_message"], body["add_generation_prompt"]) == (True, False)
    assert (body["max_tokens"], body["top_logprobs"]) == (1, 20) and "Image 1 is better" not in str(body["messages"][1])
    assert remote(serve(lambda body: told(_1=-0.5, x=-1.5)).url).beliefs(samples[:1], [[THOUGHT]]) == [(None,)]


def test_failures_are_none_and_counted_and_too_many_end_it(serve: Serve, samples: list[Sample]) -> None:
    def answer(body: dict[str, Any]) -> Any:
        return Reply({"error": "oops"}, 400) if "bad" in body["messages"][1]["content"] else told(_1=-0.5, _2=-1.5)

    listener = remote(serve(answer).url, max_failure_rate=0.3)
    good = [f"<think>good {i}</think>" for i in range(8)]
    row = listener.beliefs(samples[:1], [[*good, "<think>bad</think>", "<think>bad too</think>", "no thought"]])[0]
    assert [b is None for b in row] == [False] * 8 + [True] * 3 and listener.failure_rate == pytest.approx(0.2)
    assert None not in listener.beliefs(samples[:1], [good[:1]])[0] and listener.failure_rate == 0.0
    with pytest.raises(
        ServiceError, match=r"failed on 60% of 5 questions, and on 31% .* \(listener.max_failure_rate is 30%"
    ):
        listener.beliefs(samples[:1], [[*good[:2], *(f"<think>bad {i}</think>" for i in range(3))]])


def test_a_server_that_answers_nothing_ends_it_at_once(serve: Serve, samples: list[Sample]) -> None:
    listener = remote(
        serve(lambda body: Reply({"error": "oops"}, 500)).url, max_failure_rate=1.0, endpoint={"retries": 1}
    )
    with pytest.raises((ServiceError, InputError)):
        listener.beliefs(samples, [[THOUGHT]] * 3)


def test_a_template_that_lays_out_a_thought_anew_is_found_at_the_start() -> None:
    """A vLLM whose prompt does not end with the assistant's beginning; another that refuses to go on with it."""

    def answer(read: Any) -> Callable[[dict[str, Any]], Any]:
        def say(body: dict[str, Any]) -> Any:
            return Reply({"tokens": [7, 8, 9]}) if "prompt" in body else read

        return say

    models = Reply({"data": [{"id": "m", "owned_by": "vllm"}]})
    for read in ({"prompt_token_ids": [1, 2, 7, 9]}, {}, Reply({"error": {"message": "final message"}}, 400)):
        server = ChatServer(answer(read), models=models)
        with pytest.raises(InputError, match=r"assistant.*; serve it with a --chat-template"):
            remote(server.url)
        server.stop()
    server = ChatServer(answer({"prompt_token_ids": [1, 2, 7, 8, 9]}), models=models)
    remote(server.url)
    server.stop()


def test_log_probabilities_are_needed(serve: Serve, samples: list[Sample]) -> None:
    server = serve(lambda body: "yes")
    with pytest.raises(InputError, match="tells no log-probabilities"):
        remote(server.url).beliefs(samples[:1], [[THOUGHT]])


def test_groups_that_are_asked_about_alone_are_shared_out_among_replicas(serve: Serve, samples: list[Sample]) -> None:
    """And the questions about one prompt go to one of them, whose prefix cache serves them."""
    servers = [serve(lambda body: told(_1=-0.5, _2=-1.5)) for _ in range(2)]
    section = EndpointSection(urls=tuple(server.url for server in servers))
    listener = Listener(HttpEngine(OpenAIClient(section)), TEMPLATE)
    for sample in samples[:2]:
        listener.beliefs([sample], [["<think>a</think>", "<think>b</think>", "<think>c</think>"]])
    assert [len(server.bodies) for server in servers] == [3, 3]
    assert all(len({str(body["messages"][0]) for body in server.bodies}) == 1 for server in servers)


def test_training_shows_what_failed_stops_when_the_listener_is_gone_and_goes_on(
    tiny: Vlm, samples: list[Sample], serve: Serve, tmp_path: Path
) -> None:
    """Six questions a step. In the second one of them fails; in the third the server goes away; another comes."""
    asked = 0

    def answer(body: dict[str, Any]) -> Any:
        nonlocal asked
        asked += 1
        if asked == 14:
            threading.Thread(target=dying.stop).start()
        return Reply({"error": "oops"}, 400) if asked == 8 else told(_1=-0.5 - asked / 50, _2=-1.5)

    section = GrpoSection(
        rewards="listener_belief",
        gradient_accumulation_steps=2,
        num_generations=3,
        max_steps=4,
        max_completion_length=6,
    )
    lines: list[dict[str, float]] = []

    def trainer(url: str) -> GRPOTrainer:
        vlm = replace(tiny, model=copy.deepcopy(tiny.model))
        encoder = PromptEncoder(vlm)
        return GRPOTrainer(
            vlm, TEMPLATE, samples, section, engine=ThinkingEngine(vlm, encoder), encoder=encoder, seed=0,
            listener=remote(url, max_failure_rate=0.2, endpoint={"retries": 1, "concurrency": 1}),
            log=lambda step, line: lines.append(line), checkpoints=Checkpoints(tmp_path / "states", 50, 2),
        )  # fmt: skip

    dying = ChatServer(answer)
    with pytest.raises(
        ServiceError, match=r"listener\.max_failure_rate is 20%.* after step 2 is saved: go on .* --resume"
    ):
        trainer(dying.url).train()
    assert [round(line["listener_failure_rate"], 3) for line in lines] == [0.0, 0.167]
    resumed = trainer(serve(lambda body: told(_1=-0.5, _2=-1.5)).url)
    resumed.train(resume=Checkpoints(tmp_path / "states", 50, 2).latest())
    assert resumed.session.step == 4 and len(lines) == 4
    assert resumed.listener is not None and isinstance(resumed.listener.engine, HttpEngine)
    assert resumed.listener.engine.endpoint.cost.requests >= 11 + 12  # a budget does not begin anew


# --- while others are rolled out ------------------------------------------------------------------------------------


def window(samples: list[Sample]) -> list[Group]:
    return [
        Group(s, tuple(Completion(f"<think>{i} {g}</think>", (1,), (0.0,), "stop") for g in range(3)))
        for i, s in enumerate(samples)
    ]


def test_groups_are_heard_while_others_are_rolled_out(serve: Serve, samples: list[Sample]) -> None:
    """The last group waits until the first one has been heard: heard at the end, it would wait for ever."""
    answered = threading.Event()

    def answer(body: dict[str, Any]) -> dict[str, Any]:
        answered.set()
        return told(_1=-0.1 * len(body["messages"][1]["content"]), _2=-1.5)

    listener = remote(serve(answer).url)
    groups = window(samples)
    with OverlappedListening(listener) as ear:
        for i, group in reversed(list(enumerate(groups))):
            if i == 0:
                assert answered.wait(20)
            ear.submit(i, group)
        early = ear.beliefs()
    assert early == listener.beliefs([g.sample for g in groups], [[c.text for c in g.completions] for g in groups])
    assert ear.overlap_seconds > 0 and listener.failure_rate == 0


def test_a_batch_is_checked_as_a_whole(serve: Serve, samples: list[Sample]) -> None:
    """One group that the server refuses is no reason to stop; a window of which none is answered is."""

    def answer(body: dict[str, Any]) -> Any:
        refused = refusing or "<think>0 " in body["messages"][1]["content"]
        return Reply({"error": "oops"}, 400) if refused else told(_1=-0.5, _2=-1.5)

    refusing, listener = False, remote(serve(answer).url, max_failure_rate=0.6)
    groups = window(samples)

    def hear() -> list[Any]:
        with OverlappedListening(listener) as ear:
            for i, group in enumerate(groups):
                ear.submit(i, group)
            return ear.beliefs()

    beliefs = hear()
    assert beliefs[0] == (None,) * 3 and all(None not in row for row in beliefs[1:])
    assert listener.failure_rate == pytest.approx(1 / len(samples))
    with listener.batch():
        pass
    assert listener.failure_rate == 0.0, "where nothing was asked nothing failed"
    refusing = True
    with pytest.raises(ServiceError, match="failed on 100% of"):
        hear()


def trained(vlm: Vlm, samples: list[Sample], listener: Any) -> tuple[list[ScoredGroup], dict[str, float], Vlm]:
    """A step: its groups, what it logged, and what became of the policy."""
    vlm = replace(vlm, model=copy.deepcopy(vlm.model))
    encoder, groups, lines = PromptEncoder(vlm), [], []
    section = GrpoSection(
        rewards="listener_belief", gradient_accumulation_steps=4,
        num_generations=3, max_steps=1, max_completion_length=6,
        log_rollouts_every=1, learning_rate=1e-3,
    )  # fmt: skip
    GRPOTrainer(
        vlm, TEMPLATE, samples, section, engine=ThinkingEngine(vlm, encoder, rows=3), encoder=encoder,
        listener=listener,
        seed=0, log=lambda step, line: lines.append(line), on_groups=lambda step, scored: groups.extend(scored),
    ).train()  # fmt: skip
    return groups, lines[0], vlm


def test_early_listening_changes_nothing_but_when(tiny: Vlm, pictures: tuple[Image.Image, ...], serve: Serve) -> None:
    """Beliefs that depend on what is asked; all questions about one prompt fail, a tenth may."""

    def answer(body: dict[str, Any]) -> Any:
        asked = str(body["messages"])
        if "picture 2" in asked:
            return Reply({"error": "oops"}, 400)
        return told(_1=-0.5 - crc32(asked.encode()) / 2**32, _2=-1.5)

    pairs = ((0, 1), (1, 2), (2, 0), (0, 2))
    samples = [
        Sample(f"{i}", "image_preference", f"picture {i}", (pictures[a], pictures[b]), gold={"p_first": 1.0})
        for i, (a, b) in enumerate(pairs)
    ]
    server = serve(answer)
    early, line, after = trained(tiny, samples, remote(server.url, max_failure_rate=0.3))
    late_listener = remote(server.url, max_failure_rate=0.3)
    late_listener.is_remote = False  # asked as one that computes here
    late, _, same = trained(tiny, samples, late_listener)
    assert len(server.bodies) == 24
    assert [(s.group, s.beliefs, s.total) for s in early] == [(s.group, s.beliefs, s.total) for s in late]
    assert len({belief for s in early for belief in s.beliefs or ()}) == 10, "nine, and the one prompt's None"
    for mine, theirs in zip(after.model.parameters(), same.model.parameters(), strict=True):
        assert bool((mine == theirs).all())
    assert (
        line["listener_failure_rate"] == pytest.approx(0.25) and line["time/listening"] >= 0 < line["listener_overlap"]
    )


# --- vLLM -----------------------------------------------------------------------------------------------------------


@pytest.mark.vllm
@pytest.mark.timeout(900)
@pytest.mark.parametrize("both_orders", [False, True])
def test_it_believes_what_transformers_believes(
    served: tuple[VllmServer, Vlm], samples: list[Sample], both_orders: bool
) -> None:
    server, vlm = served
    how: dict[str, Any] = {"min_mass": 0.0, "both_orders": both_orders, "temperature": 1.5}
    here = frozen_listener(vlm, TEMPLATE, **how)
    there = remote(server.url, banned_token_ids=vlm.banned_token_ids, **how)
    texts = [[*TEXTS, "never closed"], [TEXTS[0]], [TEXTS[1], "<think>Tabs\t and \n\n lines, é</think>"]]
    for ours, theirs in zip(there.beliefs(samples, texts), here.beliefs(samples, texts), strict=True):
        for a, b in zip(ours, theirs, strict=True):
            assert (a is None) == (b is None)
            if a is not None and b is not None:
                assert a.probs == pytest.approx(b.probs, abs=1e-4) and a.option_mass == pytest.approx(
                    b.option_mass, abs=1e-4
                )
                assert a.order_gap == pytest.approx(b.order_gap, abs=1e-4)


@pytest.mark.vllm
@pytest.mark.timeout(900)
def test_options_of_several_tokens_cannot_be_asked(served: tuple[VllmServer, Vlm]) -> None:
    server, _ = served
    choices = {"choices": ["banana split", "kiwi"]}
    sample = Sample("q", "qa", "what?", gold={"answer": "banana split", "kind": "choice"}, meta=choices)
    assert remote(server.url, load_template("qa", "brief")).beliefs([sample], [[THOUGHT]]) == [(None,)]


@pytest.mark.vllm
@pytest.mark.timeout(900)
def test_it_hears_through_a_flaky_proxy(
    served: tuple[VllmServer, Vlm], samples: list[Sample], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reasoner_rm.client.openai_client.FIRST_WAIT", 0.01)
    server, _ = served
    want = remote(server.url, min_mass=0.0).beliefs(samples, [list(TEXTS)] * 3)
    harms: tuple[Any, ...] = (None, Reply(), None, Reply({}, 503), True)
    proxy = FlakyProxy(server.url, lambda n: harms[n % len(harms)])
    got = remote(proxy.url, min_mass=0.0, endpoint={"retries": 9}).beliefs(samples, [list(TEXTS)] * 3)
    proxy.stop()
    for a, b in zip(got, want, strict=True):
        assert [x.probs for x in a if x] == [pytest.approx(y.probs, abs=1e-5) for y in b if y] and None not in a


@pytest.mark.vllm
@pytest.mark.timeout(900)
def test_it_hears_groups_while_others_are_rolled_out(served: tuple[VllmServer, Vlm], samples: list[Sample]) -> None:
    """The last group is not begun before the server has answered about the first: else the test would wait in vain."""
    server, vlm = served
    before, order = server.answered(), []

    class Slow(ThinkingEngine):
        def stream(
            self, requests: Sequence[GenerationRequest], sampling: SamplingParams
        ) -> Iterator[tuple[int, tuple[Completion, ...]]]:
            for place, group in super().stream(requests, sampling):
                if place == len(requests) - 1:
                    end = time.monotonic() + 120
                    while server.answered() < before + 3 and time.monotonic() < end:
                        time.sleep(0.05)
                    order.append(server.answered() - before)
                yield place, group

    encoder, lines = PromptEncoder(vlm), []
    listener = remote(server.url, banned_token_ids=vlm.banned_token_ids, min_mass=0.0)
    before = server.answered()
    section = GrpoSection(
        rewards="listener_belief",
        gradient_accumulation_steps=3,
        num_generations=3,
        max_steps=1,
        max_completion_length=6,
    )
    GRPOTrainer(
        vlm, TEMPLATE, samples, section, engine=Slow(vlm, encoder, rows=3), encoder=encoder, listener=listener, seed=0,
        log=lambda step, line: lines.append(line),
    ).train()  # fmt: skip
    assert order[0] >= 3 and server.answered() - before == 9
    assert lines[0]["listener_overlap"] > 0 and lines[0]["listener_failure_rate"] == 0
