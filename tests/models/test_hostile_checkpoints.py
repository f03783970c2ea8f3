"""Checkpoints of strangers: each ends in one line, and neither runs code nor reads a file outside its folder."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hostile_models
import pytest
from PIL import Image
from safetensors.torch import load_file

from reasoner_rm import Judge
from reasoner_rm.errors import InputError
from reasoner_rm.models.judge_checkpoint import FILE, JudgeConfig, load_judge_config
from reasoner_rm.models.loading import load_architecture, load_vlm
from reasoner_rm.models.token_counter import Counter
from reasoner_rm.tasks.render import load_template

CODE = """
from pathlib import Path
Path({marker!r}).touch()
from transformers import PreTrainedConfig, Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration, Qwen2_5_VLProcessor
class Config(Qwen2_5_VLConfig):
    model_type = "own"
class Model(Qwen2_5_VLForConditionalGeneration):
    config_class = Config
class Processor(Qwen2_5_VLProcessor):
    pass
"""
OWN = {
    "AutoConfig": "own.Config", "AutoModel": "own.Model", "AutoModelForImageTextToText": "own.Model",
    "AutoProcessor": "own.Processor", "AutoTokenizer": ["own.Processor", "own.Processor"],
    "AutoImageProcessor": "own.Processor",
}  # fmt: skip


@pytest.fixture
def folder(tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkpoint with code beside it, whose user says yes to everything."""
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    path = tmp_path / "model"
    shutil.copytree(tiny_folder, path)
    (path / "own.py").write_text(CODE.format(marker=str(tmp_path / "ran")))
    return path


def change(file: Path, **values: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def sharded(folder: Path, where: str) -> None:
    """The weights at another place, by an index."""
    names = list(load_file(folder / "model.safetensors"))
    (folder / where).parent.mkdir(exist_ok=True, parents=True)
    (folder / "model.safetensors").rename(folder / where)
    index = {"metadata": {}, "weight_map": dict.fromkeys(names, where)}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


CONFIG = "config.json"
PROCESSORS = ("processor_config.json", "preprocessor_config.json", "tokenizer_config.json")
IMAGES = (Image.new("RGB", (56, 56), "red"), Image.new("RGB", (56, 56), "blue"))


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", hostile_models.SPOILED)
def test_a_hostile_model_ends_in_one_line(
    tiny_folder: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loaded and asked; whoever is asked whether its code may run says yes."""
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    model = hostile_models.make(tmp_path, tiny_folder, name)
    with pytest.raises(InputError) as refused:
        Judge.from_pretrained(model, "transformers", max_tokens=1, template="brief").compare("red", *IMAGES)
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 1000
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("load", [load_vlm, Counter.of, load_architecture])
@pytest.mark.parametrize("file", [CONFIG, *PROCESSORS])
def test_code_beside_a_checkpoint_is_not_run(folder: Path, file: str, load: Callable[[str], Any]) -> None:
    """Whatever names it, and whoever loads what; a class that transformers has as well is taken from there."""
    if not (folder / file).exists():
        (folder / file).write_text("{}")
    own = {"model_type": "own"} if file == CONFIG else dict.fromkeys(("processor_class", "tokenizer_class"), "Own")
    change(folder / file, auto_map=OWN, **own)
    if file != CONFIG:
        change(folder / CONFIG, auto_map=OWN)
    try:
        load(str(folder))
    except InputError as error:
        assert "\n" not in str(error)
    assert not (folder.parent / "ran").exists()


def test_shards_of_the_folder_are_loaded(folder: Path) -> None:
    sharded(folder, "w.safetensors")
    assert load_vlm(folder, device="cpu").source == str(folder)


CARDS: dict[str, tuple[dict[str, object] | bytes, str]] = {
    "a list": (b"[]", "broken judge configuration"),
    "null": (b"null", "broken judge configuration"),
    "deep lists": (b"[" * 100_000, "broken judge configuration"),
    "no text": (b"\xff", "broken judge configuration"),
    "a huge temperature": ({"temperature": 10**400}, "broken judge configuration"),
    "temperature 0": ({"temperature": 0}, "temperature 0"),
    "a negative temperature": ({"temperature": -1}, "temperature -1"),
    "temperature NaN": ({"temperature": float("nan")}, "temperature nan"),
    "temperature as a list": ({"temperature": [1]}, "broken judge configuration"),
    "pixels as a text": ({"min_pixels": "many"}, "pixel bounds"),
    "negative pixels": ({"max_pixels": -4}, "pixel bounds"),
    "a huge number of pixels": ({"max_pixels": 10**400}, "pixel bounds"),
    "half a character": ({"template": {"name": "a", "text": "\ud800", "hash": "x"}}, "broken judge configuration"),
    "a template of numbers": ({"template": {"name": 1, "text": 2, "hash": 3}}, "1 is no text"),
    "a template of endless loops": (
        {"template": {"name": "a", "text": "{% for i in range(10**12) %}{% endfor %}", "hash": "x"}}, "no call is",
    ),
    "a task that is a list": ({"task": ["image_preference"]}, "is no text"),
    "an unknown task": ({"task": "murder"}, "murder"),
    "a listener that is a list": ({"listener": []}, "is no text"),
}  # fmt: skip


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", CARDS)
def test_the_card_of_a_stranger_is_refused_in_one_line(tmp_path: Path, name: str) -> None:
    change, says = CARDS[name]
    (tmp_path / "config.json").write_text("{}")
    card = JudgeConfig("image_preference", load_template("image_preference", "default")).as_json()
    content = change if isinstance(change, bytes) else json.dumps(card | change).encode()
    (tmp_path / FILE).write_bytes(content)
    with pytest.raises(InputError, match=says) as refused:
        load_judge_config(tmp_path)
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 500


@pytest.mark.parametrize(("name", "value"), [("vocab_size", 10**12), ("max_position_embeddings", 0)])
def test_sizes_are_refused_where_no_weights_are_loaded(name: str, value: int, folder: Path) -> None:
    """An engine with weights of its own asks for the architecture alone."""
    file = folder / "config.json"
    config = json.loads(file.read_text())
    config["text_config"][name] = value
    file.write_text(json.dumps(config))
    with pytest.raises(InputError, match=rf"{name} of its configuration is {value}; give a number from 1 to \d+$"):
        load_vlm(folder, device="cpu", weights=False)
