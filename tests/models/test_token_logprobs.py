"""The closed form of the gradient against autograd's own, whole and in parts; and what it holds on the way."""

from __future__ import annotations

import pytest
import torch
from peak_memory import peak_bytes
from torch import Tensor

from reasoner_rm.models import token_logprobs
from reasoner_rm.models.token_logprobs import chunked_token_logprobs

V, D, T, BANNED = 512, 16, 40, (3, 7, 500)


def plain(hidden: Tensor, weight: Tensor, ids: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """As it is written in books."""
    logits = (hidden @ weight.T).float() / temperature
    logits = logits.index_fill(1, torch.tensor(BANNED), -torch.inf)
    logprobs = logits.log_softmax(-1)
    exact = logits.detach().double().log_softmax(-1)
    return logprobs.gather(1, ids[:, None])[:, 0], -(exact.exp() * exact).nan_to_num().sum(-1).float()


def drawn(dtype: torch.dtype = torch.float32, tokens: int = T, vocabulary: int = V) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(tokens, D, generator=generator).to(dtype).requires_grad_()
    weight = torch.randn(vocabulary, D, generator=generator).to(dtype).requires_grad_()
    return hidden, weight, torch.randint(10, vocabulary - 20, (tokens,), generator=generator)


@pytest.mark.parametrize("at_once", [V * 7, 2**25])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_it_is_log_softmax_and_has_its_gradient(
    at_once: int, temperature: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token_logprobs, "MAX_LOGITS", at_once)
    hidden, weight, ids = drawn()
    upstream = torch.linspace(-1, 2, T)
    want, entropy = plain(hidden, weight, ids, temperature)
    got, spread, _ = chunked_token_logprobs(hidden, weight, ids, BANNED, temperature, entropy=True)
    torch.testing.assert_close(got, want)
    torch.testing.assert_close(spread, entropy, atol=1e-4, rtol=0)  # a difference of greater numbers
    grads = torch.autograd.grad(want, (hidden, weight), upstream)
    for _ in range(2):  # the second time nothing is left of the first
        ours = torch.autograd.grad(got, (hidden, weight), upstream, retain_graph=True)
        for mine, theirs in zip(ours, grads, strict=True):
            assert (mine - theirs).norm() <= 1e-6 * theirs.norm()
    alone, none, _ = chunked_token_logprobs(hidden, weight.detach(), ids, BANNED, temperature)
    assert none is None
    torch.testing.assert_close(torch.autograd.grad(alone, hidden, upstream)[0], grads[0])


@pytest.mark.parametrize("at_once", [V * 7, 2**25])
def test_under_autocast_and_in_half_precision_it_errs_as_the_plain_form_does(
    at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token_logprobs, "MAX_LOGITS", at_once)
    for dtype, mixed in ((torch.float32, True), (torch.bfloat16, False)):
        hidden, weight, ids = drawn(dtype)
        exact = torch.autograd.grad(plain(hidden.float(), weight.float(), ids, 1.0)[0].sum(), (hidden, weight))
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            forms = [
                plain(hidden, weight, ids, 1.0)[0],
                chunked_token_logprobs(hidden, weight, ids, BANNED, 1.0).logprobs,
            ]
        assert forms[1].dtype == torch.float32
        errors = []
        for logprobs in forms:
            found = torch.autograd.grad(logprobs.sum(), (hidden, weight))
            assert [g.dtype for g in found] == [dtype, dtype]
            errors.append(max(float((g - e).norm() / e.norm()) for g, e in zip(found, exact, strict=True)))
        assert errors[1] <= 1.5 * errors[0] + 1e-3


def test_it_holds_less_than_autograd_does(monkeypatch: pytest.MonkeyPatch) -> None:
    hidden, weight, ids = drawn(tokens=256, vocabulary=4096)
    logits = 256 * 4096 * 4

    def whole() -> None:
        plain(hidden, weight, ids, 1.0)[0].sum().backward()

    def ours() -> None:
        chunked_token_logprobs(hidden, weight, ids, BANNED, 1.0, entropy=True).logprobs.sum().backward()

    assert peak_bytes(whole) > 3 * logits
    assert peak_bytes(ours) < 3 * logits
    monkeypatch.setattr(token_logprobs, "MAX_LOGITS", 4096 * 16)
    assert peak_bytes(ours) < 3 * logits / 16 + 4 * weight.nbytes
