"""Nucleus sampling (arXiv 1904.09751) as plainly as it can be written, for engines to be held against."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from reasoner_rm.models.loading import Vlm
from reasoner_rm.models.prefix_cache import prefill
from reasoner_rm.models.prompt_encoder import PromptEncoder
from reasoner_rm.models.token_logprobs import processed_logits
from reasoner_rm.rollout import GenerationRequest, RolloutEngine, SamplingParams
from reasoner_rm.tasks.render import Prompt


def nucleus_of(probs: Sequence[float], top_p: float) -> dict[int, float]:
    """The likeliest tokens until they hold ``top_p``, in the vocabulary's order, each with its share of them."""
    kept, held = [], 0.0
    for token, p in sorted(enumerate(probs), key=lambda pair: -pair[1]):
        if held >= top_p:
            break
        kept.append(token)
        held += p
    return {token: probs[token] / held for token in sorted(kept)}


def drawn(shares: Mapping[int, float], uniform: float) -> int:
    for token, share in shares.items():
        if uniform < share:
            return token
        uniform -= share
    raise AssertionError("the shares do not sum to 1")


def check_first_tokens(engine: RolloutEngine, vlm: Vlm, prompt: Prompt, top_p: float, n: int = 600) -> None:
    """What an engine draws first of ``vlm``, many times over, is spread as the nucleus is."""
    encoder = PromptEncoder(vlm)
    with torch.no_grad():
        hidden = prefill(vlm, encoder, [encoder.encode(prompt)], 1).hidden
        probs = processed_logits(vlm.model.lm_head, hidden, vlm.banned_token_ids, 1.0)[0].softmax(-1).tolist()
    shares = nucleus_of(probs, top_p)
    assert 1 < len(shares) < sum(p > 1e-6 for p in probs) / 2, "the test needs a nucleus of several, not of nearly all"
    (group,) = engine.generate([GenerationRequest(prompt, tuple(range(n)))], SamplingParams(1.0, 1, top_p))
    counts = torch.bincount(torch.tensor([c.token_ids[0] for c in group]), minlength=len(probs)) / n
    assert {c.token_ids[0] for c in group} <= shares.keys()
    assert all(abs(float(counts[token]) - share) < 0.07 for token, share in shares.items())
