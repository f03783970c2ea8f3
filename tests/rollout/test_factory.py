"""Which engine is taken, that it is said, and what stands in the way of one that is not there."""

from __future__ import annotations

import pytest
import torch

from reasoner_rm.errors import InputError
from reasoner_rm.log import warn_once
from reasoner_rm.rollout import factory as choosing
from reasoner_rm.rollout.factory import load_engine, resolve_engine
from reasoner_rm.rollout.transformers_engine import TransformersEngine


@pytest.mark.parametrize(
    ("cuda", "vllm", "name", "why"),
    [
        (True, True, "vllm", "CUDA and vLLM"),
        (True, False, "transformers", "vLLM is not installed"),
        (False, True, "transformers", "no CUDA device"),
        (False, False, "transformers", "no CUDA device"),
    ],
)
def test_auto_takes_vllm_on_cuda_and_says_so_once(
    cuda: bool, vllm: bool, name: str, why: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(choosing, "vllm_installed", lambda: vllm)
    warn_once.cache_clear()
    assert [resolve_engine().name, resolve_engine("auto").name] == [name, name]
    said = capsys.readouterr().err
    assert said.count(f"engine {name}") == 1 and why in said


def test_a_named_engine_is_taken_in_silence(capsys: pytest.CaptureFixture[str]) -> None:
    assert resolve_engine("transformers").name == "transformers" and resolve_engine("http").name == "http"
    assert not capsys.readouterr().err


def test_what_is_not_there_is_an_error_with_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="unknown engine 'sglang'; use auto, transformers, vllm, http"):
        resolve_engine("sglang")  # type: ignore[arg-type]
    monkeypatch.setattr(choosing, "vllm_installed", lambda: False)
    with pytest.raises(InputError, match=r"vLLM is not installed; install reasoner-rm\[vllm\]"):
        resolve_engine("vllm")


def test_the_engine_of_a_checkpoint(tiny_folder: object) -> None:
    assert isinstance(load_engine(str(tiny_folder), "transformers"), TransformersEngine)
