"""The transformers engine against `generate`, and the properties that the trainer leans on."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from PIL import Image
from reference_sampling import check_first_tokens, drawn, nucleus_of

from reasoner_rm.errors import InputError
from reasoner_rm.models.group_logprobs import shared_prefix_logprobs
from reasoner_rm.models.loading import Vlm
from reasoner_rm.models.prompt_encoder import PromptEncoder
from reasoner_rm.rollout import GenerationRequest, SamplingParams
from reasoner_rm.rollout.base import OptionQuery
from reasoner_rm.rollout.transformers_engine import TransformersEngine, sample_tokens, seeded_uniforms
from reasoner_rm.tasks.render import Prompt

pytestmark = pytest.mark.engine

Stir = Callable[[Vlm], Vlm]


@pytest.fixture(params=["tiny", "tiny_qwen2", "tiny_qwen3"])
def vlm(request: pytest.FixtureRequest, perturbed: Stir) -> Vlm:
    return perturbed(request.getfixturevalue(request.param))


@pytest.fixture
def prompts(pictures: tuple[Image.Image, ...]) -> list[Prompt]:
    return [
        Prompt((pictures[0], "Which image is better?"), (True, False)),
        Prompt(
            ("Image 1: ", pictures[1], "Image 2: ", pictures[2], "Caption: a red square"),
            (False, True, False, True, False),
        ),
        Prompt(("a 7",), (False,)),
    ]


def test_greedy_equals_transformers_generate(vlm: Vlm, prompts: list[Prompt]) -> None:
    """The oracle processes text and images with the family's own processor and decodes one prompt at a time."""
    ours = TransformersEngine(vlm).generate([GenerationRequest(p, (0,)) for p in prompts], SamplingParams(0.0, 12))
    for prompt, (completion,) in zip(prompts, ours, strict=True):
        text = vlm.processor.apply_chat_template(prompt.messages(), add_generation_prompt=True, tokenize=False)
        inputs = vlm.processor(
            text=[text], images=[list(prompt.images)] if prompt.images else None, return_tensors="pt"
        )
        out = vlm.model.generate(
            **inputs, do_sample=False, max_new_tokens=12, suppress_tokens=list(vlm.banned_token_ids)
        )
        assert completion.token_ids == tuple(out[0, inputs.input_ids.shape[1] :].tolist())


def test_a_completion_depends_on_its_seed_alone(vlm: Vlm, prompts: list[Prompt]) -> None:
    engine, sampling = TransformersEngine(vlm), SamplingParams(1.0, 10)
    together = engine.generate([GenerationRequest(p, (1, 2, 3)) for p in prompts], sampling)
    alone = engine.generate([GenerationRequest(prompts[1], (2,))], sampling)
    assert together[1][1].token_ids == alone[0][0].token_ids
    assert together[1][0].token_ids != together[1][1].token_ids
    few_rows = TransformersEngine(vlm, rows=3).generate([GenerationRequest(p, (1, 2, 3)) for p in prompts], sampling)
    assert [[c.token_ids for c in g] for g in few_rows] == [[c.token_ids for c in g] for g in together]


def test_a_pass_is_bounded_by_its_tokens(vlm: Vlm, prompts: list[Prompt]) -> None:
    encoder, sizes = PromptEncoder(vlm), list[int]()
    hook = vlm.model.model.language_model.register_forward_pre_hook(
        lambda _, args, kwargs: sizes.append(kwargs["inputs_embeds"].shape[:2].numel()), with_kwargs=True
    )
    requests = [GenerationRequest(p, (1, 2)) for p in prompts]
    queries = [OptionQuery(p, ("It is", "I say it is", "So it is"), (" 1", " 2")) for p in prompts]
    found, longest = [], []
    for limit in (10**6, max(len(encoder.encode(p).input_ids) for p in prompts) + 20):
        engine = TransformersEngine(vlm, encoder, max_tokens=limit)
        sizes.clear()
        found.append((engine.generate(requests, SamplingParams(1.0, 1)), engine.option_logprobs(queries)))
        longest.append(max(sizes))
        assert longest[-1] <= limit
    hook.remove()
    assert longest[0] > longest[1]
    (whole, answers), (parts, same) = found
    assert [[c.token_ids for c in g] for g in parts] == [[c.token_ids for c in g] for g in whole]
    for row, wanted in zip(same, answers, strict=True):
        assert all(a == pytest.approx(b, abs=1e-4) for a, b in zip(row, wanted, strict=True))


def test_options_of_a_model_in_bfloat16_are_told_apart(vlm: Vlm, prompts: list[Prompt]) -> None:
    """Logits above 16 are multiples of 0.125 in bfloat16; 64 reasonings would share a few beliefs."""
    vlm.model.to(torch.bfloat16)
    with torch.no_grad():
        direction = torch.randn(vlm.model.lm_head.in_features, generator=torch.Generator().manual_seed(0))
        vlm.model.lm_head.weight.add_(0.5 * direction)  # great logits, all alike
    texts = tuple(f"Seen {i} times, it is" for i in range(64))
    (answers,) = TransformersEngine(vlm).option_logprobs([OptionQuery(prompts[0], texts, (" 1", " 2"))])
    margins = {row[0] - row[1] for row in answers if isinstance(row, list)}
    assert len(margins) >= 60


def test_sampler_logprobs_are_the_trainers(vlm: Vlm, prompts: list[Prompt]) -> None:
    encoder = PromptEncoder(vlm)
    groups = TransformersEngine(vlm, encoder).generate(
        [GenerationRequest(p, (5, 6)) for p in prompts], SamplingParams(0.7, 9)
    )
    batch = encoder.batch([encoder.encode(p) for p in prompts])
    with torch.no_grad():
        out = shared_prefix_logprobs(vlm, batch, [[c.token_ids for c in g] for g in groups], temperature=0.7)
    flat = [c for g in groups for c in g]
    for row, completion in enumerate(flat):
        assert out.logprobs[row, : len(completion.logprobs)].tolist() == pytest.approx(completion.logprobs, abs=2e-5)


def test_visual_tokens_are_never_sampled_even_when_the_model_wants_them(vlm: Vlm, prompts: list[Prompt]) -> None:
    vlm.model.lm_head = torch.nn.Linear(vlm.model.lm_head.in_features, vlm.model.lm_head.out_features)
    with torch.no_grad():
        vlm.model.lm_head.bias.zero_()
        vlm.model.lm_head.bias[list(vlm.banned_token_ids)] = 100.0
    for temperature in (0.0, 1.0):
        for group in TransformersEngine(vlm).generate(
            [GenerationRequest(p, (0, 1)) for p in prompts], SamplingParams(temperature, 8)
        ):
            for completion in group:
                assert not set(completion.token_ids) & set(vlm.banned_token_ids)


def test_finish_reasons(vlm: Vlm, prompts: list[Prompt]) -> None:
    stop = vlm.stop_token_ids[0]
    vlm.model.lm_head = torch.nn.Linear(vlm.model.lm_head.in_features, vlm.model.lm_head.out_features)
    torch.nn.init.zeros_(vlm.model.lm_head.bias)
    engine = TransformersEngine(vlm)
    with torch.no_grad():
        vlm.model.lm_head.bias[stop] = -1e4
    (cut,) = engine.generate([GenerationRequest(prompts[0], (0,))], SamplingParams(1.0, 6))[0]
    assert (cut.finish_reason, len(cut.token_ids)) == ("length", 6)
    with torch.no_grad():
        vlm.model.lm_head.bias[stop] = 1e4
    (ended,) = engine.generate([GenerationRequest(prompts[0], (0,))], SamplingParams(1.0, 6))[0]
    assert (ended.finish_reason, ended.token_ids, ended.text) == ("stop", (stop,), "")


def test_draw_follows_the_distribution() -> None:
    probs = torch.tensor([0.5, 0.3, 0.15, 0.05, 0.0])
    noise = seeded_uniforms(range(20_000), 1)[:, 0]
    token, logprob = sample_tokens(probs.log().expand(len(noise), -1), noise, greedy=False)
    shares = torch.bincount(token, minlength=5) / len(noise)
    assert torch.allclose(shares, probs, atol=0.015) and shares[4] == 0
    assert torch.allclose(logprob, probs.log()[token])


@pytest.mark.parametrize("top_p", [1e-6, 0.2, 0.5, 0.9, 0.999, 1.0])
def test_draw_from_the_nucleus_as_it_is_defined(top_p: float) -> None:
    """Token by token, with many likely tokens and with few; log-probabilities are the whole distribution's."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(300, 40, generator=generator) * torch.linspace(0.1, 6, 300)[:, None]
    logits[:, 7] = -torch.inf
    noise = seeded_uniforms(range(300), 1)[:, 0]
    token, logprob = sample_tokens(logits, noise, greedy=False, top_p=top_p)
    probs = logits.double().softmax(-1)
    assert token.tolist() == [
        drawn(nucleus_of(p, top_p), u) for p, u in zip(probs.tolist(), noise.tolist(), strict=True)
    ]
    assert torch.allclose(logprob, logits.log_softmax(-1).gather(-1, token[:, None])[:, 0])


@pytest.mark.parametrize("greedy", [False, True])
@pytest.mark.parametrize("top_p", [5e-324, 0.5, 1.0])
def test_a_row_that_is_no_distribution_is_marked_and_its_neighbours_are_drawn(top_p: float, greedy: bool) -> None:
    sound = torch.tensor([0.2, 1.0, 3.0, -torch.inf])
    logits = torch.stack([sound, sound * torch.nan, torch.full((4,), -torch.inf), torch.full((4,), torch.inf), sound])
    noise = torch.tensor([0.3, 0.999, 0.999, 0.999, 0.3], dtype=torch.float64)
    token, logprob = sample_tokens(logits, noise, greedy, top_p)
    assert token.min() >= 0 and token.max() < 4, "the model can go on with it"
    assert logprob.isnan().tolist() == [False, True, True, True, False]
    alone, _ = sample_tokens(sound[None], noise[:1], greedy, top_p)
    assert token[0] == token[4] == alone[0]


@pytest.mark.parametrize(
    ("name", "value"),
    [("temperature", t) for t in (-1.0, 1e-40, 5e-324, 0.0099, float("nan"), float("inf"), -float("inf"))]
    + [("top_p", p) for p in (0.0, -0.5, 1.0001, float("nan"))] + [("max_tokens", n) for n in (0, -1)],
)  # fmt: skip
def test_sampling_that_no_engine_can_do_is_refused(name: str, value: float) -> None:
    """Logits in fp32 divided by 1e-40 are infinite."""
    with pytest.raises(InputError, match=f"{name} is .*; give"):
        SamplingParams(**{name: value})  # type: ignore[arg-type]
    SamplingParams(**{"temperature": -0.0, "top_p": 5e-324})


def test_the_engine_draws_from_the_nucleus(vlm: Vlm, prompts: list[Prompt]) -> None:
    engine = TransformersEngine(vlm)
    check_first_tokens(engine, vlm, prompts[1], 0.4)
    asked = [GenerationRequest(p, (3, 4)) for p in prompts]
    smallest, greedy = (engine.generate(asked, s) for s in (SamplingParams(1.0, 8, top_p=1e-6), SamplingParams(0.0, 8)))
    assert smallest == greedy
