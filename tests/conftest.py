"""What the tests share: tiny untrained models with the real architecture, and a few pictures."""

from __future__ import annotations

import copy
import dataclasses
import os
import re
from collections.abc import Callable, Iterator

# Before torch and transformers are imported: nothing may be fetched, tiny matrices lose time to threads, and vLLM's
# sampler has some small functions compiled, which takes g++ longer than the tests need them.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TORCH_COMPILE_DISABLE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from chat_server import ChatServer
from hypothesis import settings
from PIL import Image
from vllm_server import VllmServer

from reasoner_rm.models.loading import Vlm, load_vlm
from reasoner_rm.models.tiny import TinySize, make_tiny

torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))


MODELS = {"tiny", "tiny_folder", "tiny_qwen2", "tiny_qwen3", "tiny_qwen3_folder", "tiny_qwen3_5", "served"}
"""Fixtures that load a model."""
SERVERS = {"serve", "url", "ask"}
"""Fixtures that start a server without a model."""
OTHER_COST = re.compile(r"^pytestmark = \[?pytest\.mark\.(?!filterwarnings|timeout|skipif)", re.M)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """`-m unit` does not import a file all of whose tests have another marker: imports take most of the time."""
    other = config.option.markexpr == "unit" and collection_path.match("test_*.py")
    return True if other and OTHER_COST.search(collection_path.read_text(encoding="utf-8")) else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give every test the marker of its cost: `engine` where it runs a model, `server` where it starts a server without
    one, `unit` where it starts nothing. What takes long goes first, so that no worker of `-n 2` is left with it at the
    end."""
    for item in items:
        marks = {mark.name for mark in item.iter_markers()}
        used = _fixtures(item)
        if "vllm" in marks or MODELS & used:
            item.add_marker("engine")
        elif SERVERS & used:
            item.add_marker("server")
        elif not marks & set(COSTS):
            item.add_marker("unit")
    slow = {item.path for item in items if item.get_closest_marker("slow") or item.get_closest_marker("vllm")}
    items.sort(key=lambda item: item.path not in slow)


def _fixtures(item: Any) -> set[str]:
    """The fixtures of a test, also those that a parameter names."""
    params = item.callspec.params.values() if hasattr(item, "callspec") else ()
    return {*item.fixturenames, *(value for value in params if isinstance(value, str))}


COSTS = ("unit", "server", "engine", "vllm", "distributed", "browser", "slow")


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print the number and the seconds of the tests of each marker; one test may have several markers."""
    reports = [r for rows in terminalreporter.stats.values() for r in rows if isinstance(r, pytest.TestReport)]
    terminalreporter.section("seconds by marker, of all workers together")
    for cost in COSTS:
        marked = [report for report in reports if cost in report.keywords]
        names = {report.nodeid for report in marked}
        terminalreporter.write_line(f"{cost:12} {len(names):5} tests {sum(r.duration for r in marked):7.0f} s")


# A model's first forward is slow and a busy machine slower: wall-clock says nothing about a property.
settings.register_profile("reasoner_rm", deadline=None)
settings.register_profile("check", deadline=None, max_examples=20)
settings.load_profile("reasoner_rm")

TEXTS = (
    "Image 1: Image 2: Caption: a red square beside a blue circle",
    "Which image is better? Reason in <think>, then answer in <answer>: Image 1 is better, or Image 2 is better.",
    "<think>Image 1 shows a 7, Image 2 shows a 3. The caption asks for a 3.</think><answer>Image 2 is better</answer>",
)


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained Qwen2.5-VL checkpoint of about a million parameters."""
    return make_tiny(tmp_path_factory.mktemp("tiny"), TEXTS)


@pytest.fixture(scope="session")
def tiny_qwen3_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same of Qwen3-VL."""
    return make_tiny(tmp_path_factory.mktemp("tiny_qwen3"), TEXTS, TinySize(family="qwen3_vl", image_side=64))


@pytest.fixture(scope="session")
def tiny_qwen2(tmp_path_factory: pytest.TempPathFactory) -> Vlm:
    """An untrained Qwen2-VL, under the same rule as `tiny`."""
    size = TinySize(family="qwen2_vl")
    return load_vlm(make_tiny(tmp_path_factory.mktemp("tiny_qwen2"), TEXTS, size), device="cpu")


@pytest.fixture(scope="session")
def tiny(tiny_folder: Path) -> Vlm:
    """The Qwen2.5-VL, loaded once. Tests share it, so they leave its weights as they are."""
    return load_vlm(tiny_folder, device="cpu")


@pytest.fixture(scope="session")
def tiny_qwen3(tiny_qwen3_folder: Path) -> Vlm:
    """The Qwen3-VL, loaded once, under the same rule."""
    return load_vlm(tiny_qwen3_folder, device="cpu")


@pytest.fixture(scope="session")
def tiny_qwen3_5(tmp_path_factory: pytest.TempPathFactory) -> Vlm:
    """An untrained Qwen3.5, two linear layers before one of full attention, under the same rule."""
    size = TinySize(family="qwen3_5", image_side=64)
    return load_vlm(make_tiny(tmp_path_factory.mktemp("tiny_qwen3_5"), TEXTS, size), device="cpu")


@pytest.fixture(scope="session")
def perturbed() -> Callable[[Vlm], Vlm]:
    """Copies a tiny model and enlarges its weights: as initialised, it hardly looks at its images or positions."""

    def stirred(vlm: Vlm, scale: float = 0.08, seed: int = 0) -> Vlm:
        model, generator = copy.deepcopy(vlm.model), torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for weight in model.parameters():
                weight += scale * torch.randn(weight.shape, generator=generator)
        return dataclasses.replace(vlm, model=model)

    return stirred


@pytest.fixture(scope="session")
def pictures() -> tuple[Image.Image, ...]:
    """Noise in three shapes, so that images differ in their number of visual tokens."""
    rng = np.random.default_rng(0)
    return tuple(Image.fromarray(rng.integers(0, 256, (*shape, 3), dtype=np.uint8)) for shape in SHAPES)


@pytest.fixture(scope="session")
def _vllm_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[VllmServer]]:
    started: list[VllmServer] = []
    yield started
    for server in started:
        server.kill()


@pytest.fixture
def served(
    tiny: Vlm,
    perturbed: Callable[[Vlm], Vlm],
    _vllm_servers: list[VllmServer],
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[VllmServer, Vlm]:
    """A vLLM server and the model that it serves. Tests share it; one that kills it goes last, as the next would start
    another."""
    vlm = perturbed(tiny)
    if not _vllm_servers or not _vllm_servers[-1].is_alive():
        folder = tmp_path_factory.mktemp("served")
        vlm.model.save_pretrained(folder / "model")
        vlm.processor.save_pretrained(folder / "model")
        _vllm_servers.append(VllmServer(folder / "model", folder / "vllm.log").wait())
    return _vllm_servers[-1], vlm


SHAPES = ((56, 56), (40, 112), (120, 48))


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., ChatServer]]:
    """Starts scripted chat servers, which end with the test; whoever asks them waits shortly before it asks again."""
    monkeypatch.setattr("reasoner_rm.client.openai_client.FIRST_WAIT", 0.01)
    servers: list[ChatServer] = []

    def start(answer: Callable[[dict[str, Any]], Any], **settings: Any) -> ChatServer:
        servers.append(ChatServer(answer, **settings))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()
