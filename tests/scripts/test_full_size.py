"""The rehearsal at full size, cut down: real file layout, 4 narrow layers, a short vocabulary as a tiktoken file."""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path

import checkpoints
import full_size
import pytest
import tiktoken
from shell import shell
from tiktoken.load import load_tiktoken_bpe

from reasoner_rm.models.loading import load_vlm

pytestmark = pytest.mark.engine

TEXTS = (
    "Which image is better? Answer in <answer>: Image 1 is better, or Image 2 is better.",
    "It's 2026,\n\n  naïve 中文 🦊 end ",
)
QWEN = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
"""How Qwen's tokenizer splits text before it merges bytes; published in its `tokenizer.json`."""


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All bytes, and the pieces of frequent words, in the form of `qwen.tiktoken`."""
    tokens = [bytes([i]) for i in range(256)]
    for word in " ".join(TEXTS).split():
        pieces = (f" {word}".encode()[:length] for length in range(2, len(word) + 2))
        tokens += [piece for piece in pieces if piece not in tokens]
    file = tmp_path_factory.mktemp("vocabulary") / "short.tiktoken"
    file.write_text("".join(f"{base64.b64encode(token).decode()} {rank}\n" for rank, token in enumerate(tokens)))
    return file


@pytest.mark.parametrize("family", ["qwen2_5_vl", "qwen3_vl"])
def test_the_tokenizer_is_tiktokens(vocabulary: Path, family: str) -> None:
    made = checkpoints.tokenizer(vocabulary, family)
    ranks = load_tiktoken_bpe(str(vocabulary))
    original = tiktoken.Encoding("short", pat_str=QWEN, mergeable_ranks=ranks, special_tokens={})
    for text in TEXTS:
        assert made(text).input_ids == original.encode(text)
        assert made.decode(original.encode(text)) == text
    special = made.convert_tokens_to_ids(["<|endoftext|>", "<|im_end|>", "<|image_pad|>", "<tool_call>"])
    assert [number - len(ranks) for number in special] == [0, 2, 12, 14], "in the published order"


def test_the_published_shapes_have_their_number_of_weights() -> None:
    import torch
    from transformers import AutoConfig, AutoModelForImageTextToText

    millions = {}
    for file in checkpoints.MODELS.glob("*.json"):
        with torch.device("meta"):
            model = AutoModelForImageTextToText.from_config(AutoConfig.for_model(**checkpoints.published(file.stem)))
        millions[file.stem] = round(sum(p.numel() for p in model.parameters()) / 1e6)
    assert millions == {"qwen2.5-vl-3b": 3755, "qwen2.5-vl-7b": 8292, "qwen2.5-vl-32b": 33453, "qwen3-vl-2b": 2128}


def test_every_verb_in_order_on_shards(vocabulary: Path, tmp_path: Path) -> None:
    checkpoint = checkpoints.write_checkpoint(
        "qwen3-vl-2b", tmp_path / "checkpoint", vocabulary, small=True, shard_size="1MB"
    )
    index = json.loads((checkpoint / "model.safetensors.index.json").read_text())
    assert len(set(index["weight_map"].values())) > 1 and load_vlm(checkpoint).model.dtype.itemsize == 2
    config = full_size.write_inputs(tmp_path, checkpoint, {"model": {"max_pixels": 4096, "min_pixels": 1024}})
    for stage in full_size.stages(tmp_path, checkpoint, config):
        if stage.accepted == (0,) and not isinstance(stage.until, full_size.Request):
            done = shell(*stage.arguments)
            assert done.returncode == 0, (stage.name, done.stderr[-2000:])
            assert json.loads(done.stdout), stage.name
    assert (tmp_path / "run" / "release" / "README.md").is_file()


def test_silence_and_memory_are_measured(tmp_path: Path) -> None:
    script = "import sys, time; held = bytearray(50_000_000); print('loading', file=sys.stderr); time.sleep(0.6); 1 / 0"
    found = full_size.watch([sys.executable, "-c", script], tmp_path / "script.out")
    assert found.longest_silence >= 0.5 and found.silent_after == "loading"
    assert 0.05 <= found.peak_anonymous_gb <= found.peak_gb and found.returncode == 1 and not found.ok
