"""Rows that join and leave a running batch say what they would have said alone."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable

import pytest
import torch
from PIL import Image

from reasoner_rm.models.loading import Vlm
from reasoner_rm.models.prompt_encoder import EncodedPrompt, PromptEncoder
from reasoner_rm.models.slot_cache import Slots
from reasoner_rm.rollout import GenerationRequest, SamplingParams
from reasoner_rm.rollout.continuous_batching import ContinuousBatch, DecodeJob
from reasoner_rm.rollout.transformers_engine import TransformersEngine
from reasoner_rm.tasks.render import Prompt

Stir = Callable[[Vlm], Vlm]


@pytest.fixture(params=["tiny", "tiny_qwen2", "tiny_qwen3", "tiny_qwen3_5"])
def vlm(request: pytest.FixtureRequest, perturbed: Stir) -> Vlm:
    return perturbed(request.getfixturevalue(request.param))


def asked(pictures: tuple[Image.Image, ...]) -> list[tuple[Prompt, tuple[int, ...], SamplingParams]]:
    """Prompts of many lengths, with one image, two, three and none, drawn in several ways."""
    one = Prompt((pictures[0], "Which image is better?"), (True, False))
    two = Prompt(("Image 1: ", pictures[1], "Image 2: ", pictures[2], "Caption: a 3"), (False, True) * 2 + (False,))
    three = Prompt((*pictures, "Reason. " * 30), (True, True, True, False))
    none = Prompt(("a 7",), (False,))
    return [
        (one, (1,), SamplingParams(0.0, 9)), (none, (2,), SamplingParams(0.0, 30)),
        (two, (3,), SamplingParams(1.0, 14)),
        (three, (4,), SamplingParams(0.7, 5)), (two, (5, 6, 7), SamplingParams(1.0, 11)),
        (none, (8,), SamplingParams(1.0, 1)),
        (one, (9,), SamplingParams(1.0, 12, top_p=0.5)), (three, (10, 11), SamplingParams(0.0, 3)),
        (none, (12,), SamplingParams(1.3, 20)),
    ]  # fmt: skip


def test_a_row_that_joins_late_is_sampled_as_if_alone(vlm: Vlm, pictures: tuple[Image.Image, ...]) -> None:
    encoder, engine = PromptEncoder(vlm), TransformersEngine(vlm)
    batch, sizes, most = ContinuousBatch(vlm, encoder), set(), 0
    jobs = [DecodeJob(encoder.encode(prompt), seeds, sampling) for prompt, seeds, sampling in asked(pictures)]
    waiting = deque(jobs)
    while waiting or batch:
        if waiting:  # one joins at each step
            batch.join([waiting.popleft()])
        sizes.add(len(batch))
        batch.step()
        most = max(most, len(batch.jobs))
    assert most > 3 and len(sizes) > 4, "they ran together"
    for job, (prompt, seeds, sampling) in zip(jobs, asked(pictures), strict=True):
        (alone,) = engine.generate([GenerationRequest(prompt, seeds)], sampling)
        assert [c.token_ids for c in job.completions] == [c.token_ids for c in alone]
        assert [c.text for c in job.completions] == [c.text for c in alone]
        for ours, theirs in zip(job.completions, alone, strict=True):
            assert ours.logprobs == pytest.approx(theirs.logprobs, abs=2e-5)
            assert ours.finish_reason == theirs.finish_reason


def test_several_join_at_once_and_are_watched(tiny: Vlm, perturbed: Stir, pictures: tuple[Image.Image, ...]) -> None:
    vlm = perturbed(tiny)
    encoder, rows, how = PromptEncoder(vlm), asked(pictures), SamplingParams(1.0, 8)
    batch, seen = ContinuousBatch(vlm, encoder), []
    jobs = [DecodeJob(encoder.encode(rows[i][0]), (i,), how, lambda _, text: seen.append(text)) for i in range(4)]
    batch.join(jobs)
    done = []
    while batch:
        done += batch.step()
    for i, job in enumerate(jobs):
        (alone,) = TransformersEngine(vlm).generate([GenerationRequest(rows[i][0], job.seeds)], how)
        assert job.completions[0].token_ids == alone[0].token_ids
        assert alone[0].text.rstrip("\ufffd") in seen
    assert {id(job) for job in done} == {id(job) for job in jobs} and len(seen) == 4 * 8


def test_what_a_broken_row_leaves_in_its_slot_reaches_nobody() -> None:
    """Masked positions are multiplied by zero: what stands there has to be finite."""
    slots, sound = Slots(), torch.ones(1, 2, 3, 4)
    slots.join({0: sound}, {0: sound}, [3], 1)
    slots.join({0: sound * torch.nan}, {0: sound * torch.nan}, [3], 1)
    assert slots.leave([1]) == [0]
    slots.join({0: sound}, {0: sound}, [1], 1)
    slots.forward_kwargs()
    out = slots.attend(0, torch.ones(2, 4, 1, 4), torch.ones(2, 2, 1, 4), torch.ones(2, 2, 1, 4), 0.5)
    assert out.shape == (2, 1, 4, 4) and torch.equal(out, torch.ones_like(out))


def test_a_row_without_finite_logits_ends_its_own_request(
    tiny: Vlm, perturbed: Stir, pictures: tuple[Image.Image, ...]
) -> None:
    """An image of NaN in the midst of others: these are sampled as if alone."""
    vlm = perturbed(tiny)
    encoder, engine = PromptEncoder(vlm), TransformersEngine(vlm)
    batch = ContinuousBatch(vlm, encoder)
    jobs = [DecodeJob(encoder.encode(prompt), seeds, sampling) for prompt, seeds, sampling in asked(pictures)[:3]]
    sound = encoder.encode(Prompt((pictures[0], "x"), (True, False)))
    image = dataclasses.replace(sound.images[0], pixel_values=sound.images[0].pixel_values * torch.nan)
    broken = [
        DecodeJob(EncodedPrompt(sound.input_ids, (image,)), (1, 2), SamplingParams(temperature, 9, top_p))
        for temperature, top_p in ((0.0, 1.0), (1.0, 1.0), (1.0, 0.5))
    ]
    for job in (jobs[0], *broken, *jobs[1:]):
        batch.join([job])
        batch.step()
    while batch:
        batch.step()
    assert all(isinstance(job.error, FloatingPointError) for job in broken)
    for job, (prompt, seeds, sampling) in zip(jobs, asked(pictures), strict=False):
        (alone,) = engine.generate([GenerationRequest(prompt, seeds)], sampling)
        assert job.error is None and [c.token_ids for c in job.completions] == [c.token_ids for c in alone]


def test_a_request_that_cannot_join_leaves_no_row_behind(tiny: Vlm, pictures: tuple[Image.Image, ...]) -> None:
    encoder = PromptEncoder(tiny)
    batch = ContinuousBatch(tiny, encoder)
    prompt = encoder.encode(Prompt((pictures[0], "x"), (True, False)))
    with pytest.raises(ValueError, match="non-negative"):
        batch.join([DecodeJob(prompt, (-1,), SamplingParams(1.0, 5))])
    job = DecodeJob(prompt, (1,), SamplingParams(1.0, 5))
    batch.join([job])
    while batch:
        batch.step()
    (alone,) = TransformersEngine(tiny).generate(
        [GenerationRequest(Prompt((pictures[0], "x"), (True, False)), (1,))], SamplingParams(1.0, 5)
    )
    assert job.completions[0].token_ids == alone[0].token_ids
