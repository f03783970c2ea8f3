"""Checkpoints of published shapes with random weights, in the file layout of the hub.

`models/NAME.json` is the published `config.json`. The chat template is the published one, which TRL ships. The
vocabulary is Qwen's: `pip install --no-deps dashscope` brings its file `qwen.tiktoken` (the extra `benchmark`).
"""

from __future__ import annotations

import json
from importlib import metadata, resources
from pathlib import Path
from typing import Any

MODELS = Path(__file__).parent / "models"
TEMPLATES = {"qwen2_5_vl": "qwen2_5_vl.jinja", "qwen3_vl": "qwen3_vl.jinja"}
SPECIAL = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>",
    "<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>",
    "<|image_pad|>", "<|video_pad|>",
)  # fmt: skip
"""From id 151643 on."""
ADDED = {
    "qwen2_5_vl": ("<tool_call>", "</tool_call>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|fim_pad|>",
                   "<|repo_name|>", "<|file_sep|>"),
}  # fmt: skip
ADDED["qwen3_vl"] = (*ADDED["qwen2_5_vl"], "<tool_response>", "</tool_response>", "<think>", "</think>")
"""After the special tokens; these are text like any other when a completion is decoded."""
WIDTHS = ("hidden_size", "intermediate_size", "out_hidden_size")
CUT_LAYERS, CUT_WIDTH, CUT_HEADS = 4, 16, 2


def vocabulary_file() -> Path:
    """`qwen.tiktoken` of the installed package.

    Raises:
        SystemExit: it is not installed.
    """
    try:
        return Path(str(metadata.distribution("dashscope").locate_file("dashscope/resources/qwen.tiktoken")))
    except metadata.PackageNotFoundError:
        raise SystemExit("no vocabulary: pip install --no-deps dashscope, or give --vocabulary FILE.tiktoken") from None


def published(name: str) -> dict[str, Any]:
    """The published configuration of a model."""
    config: dict[str, Any] = json.loads((MODELS / f"{name}.json").read_text())
    return config


def cut(config: dict[str, Any]) -> dict[str, Any]:
    """The same with 4 layers, a sixteenth of the width and heads of 32."""
    parts = [config.get("text_config", config), config["vision_config"]]
    for part in parts:
        part |= {name: part[name] // CUT_WIDTH for name in WIDTHS if name in part}
    text, vision = parts
    text |= {"num_hidden_layers": CUT_LAYERS, "num_attention_heads": 4, "num_key_value_heads": CUT_HEADS}
    if "head_dim" in text:
        text["head_dim"] = 32
    rope = text["rope_scaling"]
    rope["mrope_section"] = [section // 4 for section in rope["mrope_section"]]
    vision |= {"depth": CUT_LAYERS, "num_heads": CUT_HEADS}
    for name in ("fullatt_block_indexes", "deepstack_visual_indexes"):
        if name in vision:
            vision[name] = [CUT_LAYERS - 1]
    return config


def tokenizer(vocabulary: Path, family: str) -> Any:
    """Qwen's tokenizer of a tiktoken file."""
    from tokenizers import AddedToken
    from transformers import Qwen2Tokenizer
    from transformers.convert_slow_tokenizer import TikTokenConverter

    vocab, merges = TikTokenConverter(str(vocabulary)).extract_vocab_merges_from_model(str(vocabulary))
    vocab |= {token: len(vocab) + i for i, token in enumerate(SPECIAL + ADDED[family])}
    made = Qwen2Tokenizer(vocab=vocab, merges=merges, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    made.add_special_tokens({"additional_special_tokens": list(SPECIAL)})
    made.add_tokens([AddedToken(token, normalized=False, special=False) for token in ADDED[family]])
    made.chat_template = (resources.files("trl") / "chat_templates" / TEMPLATES[family]).read_text()
    return made


def processor(family: str, text_tokenizer: Any) -> Any:
    """The family's processor with the published bounds of an image's pixels."""
    from transformers import (
        Qwen2_5_VLProcessor,
        Qwen2VLImageProcessor,
        Qwen2VLVideoProcessor,
        Qwen3VLProcessor,
        Qwen3VLVideoProcessor,
    )

    template = text_tokenizer.chat_template
    if family == "qwen2_5_vl":
        images = Qwen2VLImageProcessor(min_pixels=3136, max_pixels=12_845_056)
        return Qwen2_5_VLProcessor(images, text_tokenizer, Qwen2VLVideoProcessor(), chat_template=template)
    images = Qwen2VLImageProcessor(
        patch_size=16, image_mean=[0.5] * 3, image_std=[0.5] * 3, min_pixels=65_536, max_pixels=16_777_216
    )
    return Qwen3VLProcessor(images, text_tokenizer, Qwen3VLVideoProcessor(), chat_template=template)


def fitted(config: dict[str, Any], text_tokenizer: Any) -> dict[str, Any]:
    """The configuration with the ids of a tokenizer, and rows for all of its tokens: with Qwen's vocabulary nothing
    changes."""
    text, ids = config.get("text_config", config), text_tokenizer.convert_tokens_to_ids
    for name in ("vision_start", "vision_end"):
        config[f"{name}_token_id"] = ids(f"<|{name}|>")
    for name in ("image", "video"):
        config[f"{name}_token_id"] = ids(f"<|{name}_pad|>")
    text |= {"bos_token_id": ids("<|endoftext|>"), "eos_token_id": ids("<|im_end|>")}
    if len(text_tokenizer) < text["vocab_size"] - 512:  # the published rows are up to 402 more than there are tokens
        text["vocab_size"] = len(text_tokenizer)
    return config


def write_checkpoint(
    name: str, out: Path, vocabulary: Path, *, small: bool = False, shard_size: str = "4GB", weights: bool = True
) -> Path:
    """Write a checkpoint in bf16: shards with an index, configurations, tokenizer, processor.

    Args:
        small: the cut of 4 layers.
        weights: False: all files but the shards, for dry runs.
    """
    import torch
    from transformers import AutoConfig, AutoModelForImageTextToText, GenerationConfig

    shape = cut(published(name)) if small else published(name)
    family = shape["model_type"]
    text_tokenizer = tokenizer(vocabulary, family)
    shape = fitted(shape, text_tokenizer)
    config = AutoConfig.for_model(**shape)
    ids = text_tokenizer.convert_tokens_to_ids
    generation = GenerationConfig(
        eos_token_id=[ids("<|im_end|>"), ids("<|endoftext|>")], pad_token_id=ids("<|endoftext|>"),
        do_sample=True, temperature=1e-6, repetition_penalty=1.05,
    )  # fmt: skip
    out.mkdir(parents=True, exist_ok=True)
    if weights:
        torch.manual_seed(0)
        model = AutoModelForImageTextToText.from_config(config, dtype=torch.bfloat16)
        model.save_pretrained(out, max_shard_size=shard_size)
    generation.save_pretrained(out)
    processor(family, text_tokenizer).save_pretrained(out)
    (out / "config.json").write_text(json.dumps(shape, indent=2))  # as published, not as transformers writes it
    return out
