"""What a listener hears, and that its one pass reads the same probabilities as a plain forward."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from PIL import Image
from thinking_engine import TEXTS

from reasoner_rm.listener import Listener, frozen_listener
from reasoner_rm.listener.reasoning_text import extract_reasoning
from reasoner_rm.models.loading import Vlm
from reasoner_rm.schema import Sample
from reasoner_rm.tasks.render import load_template, render


@pytest.fixture
def sample(pictures: tuple[Image.Image, ...]) -> Sample:
    return Sample("a", "image_preference", "a 3", images=pictures[:2], gold={"p_first": 0.0})


@pytest.fixture
def ear(tiny: Vlm, perturbed: Callable[[Vlm], Vlm]) -> Listener:
    return frozen_listener(perturbed(tiny), load_template("image_preference", "brief"), min_mass=0.0)


def by_hand(ear: Listener, sample: Sample, text: str) -> tuple[list[float], float]:
    """One plain forward of the model on processor output, for one completion."""
    vlm = ear.engine.vlm
    prompt = render(sample, ear.template)
    chat = vlm.processor.apply_chat_template(prompt.messages(), add_generation_prompt=True, tokenize=False)
    stem = chat + text.split("</think>")[0] + "</think>\n<answer>Image "
    inputs = vlm.processor(text=[stem], images=[list(prompt.images)], return_tensors="pt")
    with torch.no_grad():
        logits = vlm.model(**inputs).logits[0, -1]
    logits[list(vlm.banned_token_ids)] = -torch.inf
    ids = [vlm.tokenizer.convert_tokens_to_ids(o) for o in ("1", "2")]
    return logits[ids].softmax(-1).tolist(), float(logits.softmax(-1)[ids].sum())


def test_one_pass_equals_a_plain_forward(ear: Listener, sample: Sample) -> None:
    other = sample.swapped()
    rows = ear.beliefs([sample, other], [TEXTS, TEXTS[:1]])
    for s, texts, beliefs in ((sample, TEXTS, rows[0]), (other, TEXTS[:1], rows[1])):
        for text, belief in zip(texts, beliefs, strict=True):
            probs, mass = by_hand(ear, s, text)
            assert belief is not None and belief.options == ("1", "2")
            assert belief.probs == pytest.approx(probs, abs=1e-5)
            assert belief.option_mass == pytest.approx(mass, rel=1e-3)


def test_the_verdict_is_not_heard(ear: Listener, sample: Sample) -> None:
    flipped = TEXTS[0].replace("Image 2 is better", "Image 1 is better")
    a, b = ear.beliefs([sample], [[TEXTS[0], flipped]])[0]
    assert a is not None and b is not None and a.probs == pytest.approx(b.probs, abs=1e-6)


def test_what_cannot_be_asked_is_none(ear: Listener, sample: Sample) -> None:
    beliefs = ear.beliefs([sample], [["", "<think>never closed", "verdict first <think>x</think>", TEXTS[0]]])[0]
    assert beliefs[:3] == (None, None, None) and beliefs[3] is not None
    free = Sample("q", "qa", "what?", gold={"answer": "x", "kind": "text"})
    free_ear = frozen_listener(ear.engine.vlm, load_template("qa", "brief"))
    assert free_ear.beliefs([free], [[TEXTS[0]]]) == [(None,)]
    long = Sample(
        "q",
        "qa",
        "what?",
        gold={"answer": "banana split", "kind": "choice"},
        meta={"choices": ["banana split", "kiwi"]},
    )
    assert free_ear.beliefs([long], [[TEXTS[0]]]) == [(None,)], "options that are not single tokens"


def test_too_little_mass_is_none(ear: Listener, sample: Sample) -> None:
    ear.min_mass = 0.999
    assert ear.beliefs([sample], [TEXTS]) == [(None, None)]


def test_both_orders_are_symmetric(ear: Listener, sample: Sample) -> None:
    """Hearing both orders, a swapped question about the relabelled reasoning has the mirrored answer."""
    from reasoner_rm.candidate_labels import swap_labels

    ear.both_orders = True
    (one,) = ear.beliefs([sample], [TEXTS[:1]])[0]
    (two,) = ear.beliefs([sample.swapped()], [[swap_labels(TEXTS[0], "Image")]])[0]
    assert one is not None and two is not None and one.probs == pytest.approx(two.probs[::-1], abs=1e-5)


def test_temperature_softens(ear: Listener, sample: Sample) -> None:
    sharp = ear.beliefs([sample], [TEXTS[:1]])[0][0]
    ear.temperature = 100.0
    soft = ear.beliefs([sample], [TEXTS[:1]])[0][0]
    assert sharp is not None and soft is not None
    assert abs(soft.probs[0] - 0.5) < min(0.05, abs(sharp.probs[0] - 0.5) + 1e-6)


def test_the_listener_is_frozen(ear: Listener) -> None:
    assert not any(p.requires_grad for p in ear.engine.vlm.model.parameters()) and not ear.engine.vlm.model.training


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("<think>Image 1 has a 7. Image 1 is better.</think>x", "<think>Image 1 has a 7.</think>"),
        ("<think>So image 2 is clearly the winner! It glows.</think>", "<think> It glows.</think>"),
        ("<think>I prefer Image 2.</think>", "<think></think>"),
        ("<think>Image 1 is a cat.</think>", "<think>Image 1 is a cat.</think>"),
        ("<think>A 7. The answer is 1.</think>", "<think>A 7.</think>"),
        ("<think>My verdict: Image 2</think>", "<think></think>"),
        ("<think>The answer is 12 cats.</think>", "<think>The answer is 12 cats.</think>"),
    ],
)
def test_verdict_sentences_can_be_stripped(text: str, kept: str) -> None:
    assert extract_reasoning(text, strip_verdict=True) == kept
    assert extract_reasoning(text) == text.partition("</think>")[0] + "</think>"
