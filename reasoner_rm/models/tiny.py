"""Tiny checkpoints with the real architecture, saved in the layout of a real one.

They replace `Qwen/Qwen2.5-VL-3B-Instruct` where there is no hub and no GPU: same classes, processor, special tokens
and chat layout, loaded by the same code.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from transformers import PreTrainedModel, Qwen2Tokenizer

SPECIAL_TOKENS = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>",
    "<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>", "<|box_end|>", "<|quad_start|>", "<|quad_end|>",
    "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>",
)  # fmt: skip

CHAT_TEMPLATE = """
{%- for message in messages -%}
  {%- if loop.first and message.role != 'system' -%}
    {{- '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' -}}
  {%- endif -%}
  {{- '<|im_start|>' + message.role + '\\n' -}}
  {%- if message.content is string -%}
    {{- message.content -}}
  {%- else -%}
    {%- for part in message.content -%}
      {%- if part.type == 'image' -%}
        {{- '<|vision_start|><|image_pad|><|vision_end|>' -}}
      {%- elif part.type == 'video' -%}
        {{- '<|vision_start|><|video_pad|><|vision_end|>' -}}
      {%- else -%}
        {{- part.text -}}
      {%- endif -%}
    {%- endfor -%}
  {%- endif -%}
  {{- '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
  {{- '<|im_start|>assistant\\n' -}}
{%- endif -%}
""".strip()


HYBRID: dict[str, Any] = {
    "layer_types": ["linear_attention", "linear_attention", "full_attention"],
    "linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 32, "linear_value_head_dim": 32,
}  # fmt: skip
"""Gated-DeltaNet layers beside one of full attention, as in Qwen3.5."""
EXPERTS: dict[str, Any] = {
    "num_experts": 4, "num_local_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 64,
    "shared_expert_intermediate_size": 64, "decoder_sparse_step": 1,
}  # fmt: skip
"""A mixture of experts."""


@dataclass(frozen=True, slots=True)
class TinySize:
    """The shape of a tiny model. Heads are 32 wide, the least that vLLM's CPU attention takes."""

    family: Literal["qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_vl_moe", "qwen3_5", "qwen3_5_moe"] = "qwen2_5_vl"
    hidden: int = 128
    layers: int = 3
    heads: int = 4
    kv_heads: int = 2
    intermediate: int = 384
    vision_hidden: int = 96
    vision_layers: int = 3
    vision_heads: int | None = None
    vision_intermediate: int | None = None
    image_side: int = 56

    @property
    def pixels(self) -> int:
        return self.image_side**2


def train_tokenizer(texts: Iterable[str], vocab_size: int = 1024) -> Qwen2Tokenizer:
    """A byte-level BPE tokenizer with Qwen's pre-tokenizer, in which the texts' frequent words are single tokens.

    Args:
        texts: the training corpus; word frequencies matter.
        vocab_size: upper bound of the whole vocabulary, 256 bytes and the special tokens included.
    """
    from tokenizers import pre_tokenizers, trainers
    from transformers import Qwen2Tokenizer

    trained = Qwen2Tokenizer(vocab={}, merges=[])._tokenizer
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - len(SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    trained.train_from_iterator(texts, trainer)
    model = json.loads(trained.to_str())["model"]
    vocab = {token: i for i, token in enumerate(sorted(model["vocab"], key=model["vocab"].__getitem__))}
    vocab |= {token: len(vocab) + i for i, token in enumerate(SPECIAL_TOKENS)}
    merges = [tuple(pair) for pair in model["merges"]]
    tokenizer = Qwen2Tokenizer(vocab=vocab, merges=merges, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    tokenizer.add_special_tokens({"additional_special_tokens": list(SPECIAL_TOKENS)})
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def build(size: TinySize, tokenizer: Any, seed: int) -> PreTrainedModel:
    """A randomly initialised model of the given size, in fp32."""
    import torch
    from transformers import AutoConfig, AutoModelForImageTextToText

    ids = {
        name: tokenizer.convert_tokens_to_ids(f"<|{name}|>")
        for name in ("image_pad", "video_pad", "vision_start", "vision_end")
    }
    text = {
        "vocab_size": -(-len(tokenizer) // 64) * 64,
        "hidden_size": size.hidden,
        "intermediate_size": size.intermediate,
        "num_hidden_layers": size.layers,
        "num_attention_heads": size.heads,
        "num_key_value_heads": size.kv_heads,
        "max_position_embeddings": 8192,
        "tie_word_embeddings": True,
        "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    vision: dict[str, Any] = {
        "depth": size.vision_layers,
        "hidden_size": size.vision_hidden,
        "num_heads": size.vision_heads or max(1, size.vision_hidden // 32),
        "intermediate_size": size.vision_intermediate or 2 * size.vision_hidden,
        "out_hidden_size": size.hidden,
    }
    eighth = size.hidden // size.heads // 8
    sections = [eighth, eighth * 3 // 2, eighth * 3 // 2]  # of Qwen2.5-VL's heads of 128: 16, 24, 24
    if size.family == "qwen2_vl":
        text["rope_parameters"] = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": sections}
        del vision["hidden_size"], vision["out_hidden_size"], vision["intermediate_size"]
        vision |= {"embed_dim": size.vision_hidden, "hidden_size": size.hidden, "mlp_ratio": 2, "patch_size": 14}
    elif size.family == "qwen2_5_vl":
        text["rope_parameters"] = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": sections}
        vision |= {"window_size": 112, "fullatt_block_indexes": [size.vision_layers - 1], "patch_size": 14}
    else:
        hybrid = size.family.startswith("qwen3_5")
        text |= {"head_dim": size.hidden // size.heads} | (HYBRID if hybrid else {})
        text |= EXPERTS if size.family.endswith("_moe") else {}
        text["rope_parameters"] = {
            "rope_type": "default", "rope_theta": 1e4, "mrope_interleaved": True,
            "mrope_section": [2, 1, 1] if hybrid else [6, 5, 5], "partial_rotary_factor": 0.25 if hybrid else 1.0,
        }  # fmt: skip
        vision |= {"patch_size": 16, "num_position_embeddings": 64}
        vision |= {} if hybrid else {"deepstack_visual_indexes": [0]}
    config = AutoConfig.for_model(
        size.family,
        text_config=text,
        vision_config=vision,
        image_token_id=ids["image_pad"],
        video_token_id=ids["video_pad"],
        vision_start_token_id=ids["vision_start"],
        vision_end_token_id=ids["vision_end"],
        tie_word_embeddings=True,
    )
    state = torch.random.get_rng_state()
    torch.manual_seed(seed)
    model = AutoModelForImageTextToText.from_config(config, dtype=torch.float32)
    torch.random.set_rng_state(state)
    model.generation_config.eos_token_id = [tokenizer.eos_token_id, tokenizer.pad_token_id]
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    return model


def build_processor(size: TinySize, tokenizer: Any) -> Any:
    """The family's own processor around a tiny tokenizer, with images held near ``image_side`` squared pixels."""
    from transformers import (
        Qwen2_5_VLProcessor,
        Qwen2VLImageProcessor,
        Qwen2VLProcessor,
        Qwen2VLVideoProcessor,
        Qwen3VLProcessor,
        Qwen3VLVideoProcessor,
    )

    bounds = {"min_pixels": size.pixels, "max_pixels": size.pixels}
    if size.family in ("qwen2_vl", "qwen2_5_vl"):
        images, videos = Qwen2VLImageProcessor(**bounds), Qwen2VLVideoProcessor()
        processor = Qwen2VLProcessor if size.family == "qwen2_vl" else Qwen2_5_VLProcessor
    else:
        images = Qwen2VLImageProcessor(patch_size=16, image_mean=[0.5] * 3, image_std=[0.5] * 3, **bounds)
        videos, processor = Qwen3VLVideoProcessor(), Qwen3VLProcessor
    return processor(images, tokenizer, videos, chat_template=CHAT_TEMPLATE)


def make_tiny(out: str | Path, texts: Iterable[str], size: TinySize | None = None, seed: int = 0) -> Path:
    """Write an untrained tiny checkpoint: weights, config, generation config, tokenizer and processor."""
    size = size or TinySize()
    tokenizer = train_tokenizer(texts)
    build(size, tokenizer, seed).save_pretrained(out)
    build_processor(size, tokenizer).save_pretrained(out)
    return Path(out)
