"""Reading a checkpoint that may be a stranger's: none of its code is run, no file outside its folder is read, and no
weight is left as it was initialised."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from reasoner_rm.errors import InputError
from reasoner_rm.models.chat_template import chat_text
from reasoner_rm.models.families import IMAGE_TOKEN

if TYPE_CHECKING:
    from transformers import PreTrainedModel

NO_CODE = {"trust_remote_code": False}
"""For everything that transformers loads. By default it asks on standard input whether to run a checkpoint's code."""
_SIZES = {
    "depth": 1000, "num_hidden_layers": 1000, "patch_size": 1000, "spatial_merge_size": 100, "temporal_patch_size": 100,
    "window_size": 100_000, "num_heads": 10_000, "num_attention_heads": 10_000, "vocab_size": 10**7,
    "max_position_embeddings": 2**31,
}  # fmt: skip
"""The largest values of a configuration's sizes; the least is 1. An engine of its own loads no weights here, whose
files would be compared with them."""
_PER_BYTE = 4
"""The most weights in a byte of a checkpoint; four bits each are two."""
_MAX_SHORTEST = 2**24
"""The most pixels that a processor may enlarge a smaller image to."""


def load_config(source: str) -> Any:
    """The configuration of a checkpoint.

    Raises:
        InputError: it cannot be read, needs code of its own, or names kernels to be fetched from the hub.
    """
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(source, **NO_CODE)
        parts = [config, *(getattr(config, name) for name in config.sub_configs)]
        kernels = [name for part in parts for name in (part._attn_implementation, part._experts_implementation)]
    except Exception as error:  # transformers raises many kinds on broken files
        raise InputError(f"cannot load model {source!r} ({reason(error)})", remedy="check the path or hub id") from None
    if any("/" in str(name) for name in kernels):
        raise InputError("the configuration names kernels of its own", file=source, remedy="remove them from it")
    return config


def check_sizes(config: Any, source: str) -> None:
    """Check the sizes of a configuration that a model is divided or repeated by.

    Raises:
        InputError: one is not a number of their range.
    """
    for part in (config, *(getattr(config, name) for name in config.sub_configs)):
        for name, most in _SIZES.items():
            value = getattr(part, name, 1)
            if type(value) is not int or not 1 <= value <= most:
                what = f"{name} of its configuration is {value!r:.60}"
                raise InputError(what, file=source, remedy=f"give a number from 1 to {most}")


def load_processor(source: str, config: Any) -> Any:
    """The processor of a checkpoint with this configuration; it is tried on a small image and a short conversation.

    Raises what transformers raises, and

    Raises:
        InputError: it does not fit the configuration, or cannot process an image or a conversation.
    """
    from transformers import AutoProcessor

    processor = AutoProcessor.from_pretrained(source, **NO_CODE)
    try:
        _check_tokens(processor.tokenizer, config)
        _check_image_processor(processor.image_processor, config.vision_config)
        _check_chat_template(processor)
    except Exception as error:  # each family's processor raises its own kinds
        what = f"its processor cannot be used ({reason(error)})"
        raise InputError(what, file=source, remedy="download or save the checkpoint again") from None
    return processor


def _check_tokens(tokenizer: Any, config: Any) -> None:
    """Check that a tokenizer's ids are rows of a model's embedding, and that both mean the same place for an image."""
    rows, ids = config.get_text_config().vocab_size, tokenizer.get_vocab()
    if ids.get(IMAGE_TOKEN) != config.image_token_id:
        raise ValueError(f"{IMAGE_TOKEN} is token {ids.get(IMAGE_TOKEN)}, {config.image_token_id!r:.60} in the model")
    if max(ids.values()) >= rows:
        raise ValueError(f"its tokenizer has the id {max(ids.values())}, the model {rows} tokens")


def _check_image_processor(processor: Any, vision: Any) -> None:
    """Check that an image processor cuts the patches of a vision tower, within bounds, and try it."""
    from PIL import Image

    cut = {"patch_size": "patch_size", "merge_size": "spatial_merge_size", "temporal_patch_size": "temporal_patch_size"}
    for mine, towers in cut.items():
        if getattr(processor, mine) != getattr(vision, towers):
            raise ValueError(f"{mine} is {getattr(processor, mine)!r:.60}, {getattr(vision, towers)} in the model")
    low, high = processor.size["shortest_edge"], processor.size["longest_edge"]
    if not (type(low) is type(high) is int and 1 <= low <= _MAX_SHORTEST and low <= high < 2**40):
        raise ValueError(f"size is {low!r:.60} to {high!r:.60}")
    made = processor(images=[Image.new("RGB", (64, 64), "grey")], return_tensors="pt")
    if not made["pixel_values"].isfinite().all() or int(made["image_grid_thw"].prod()) != len(made["pixel_values"]):
        raise ValueError("its pixels are no numbers, or are not those of its grid")


def build(config: Any, **settings: Any) -> PreTrainedModel:
    """A model of a configuration, as initialised."""
    from transformers import AutoModelForImageTextToText

    model: PreTrainedModel = AutoModelForImageTextToText.from_config(config, **settings, **NO_CODE)
    return model


def load_weights(source: str, **settings: Any) -> PreTrainedModel:
    """A model with the weights of a checkpoint. Raises what transformers and safetensors raise, and

    Raises:
        InputError: weights that the checkpoint lacks, or a shard that is not in its folder.
    """
    from transformers import AutoModelForImageTextToText

    check_shards(source)
    _check_extent(source)
    model: PreTrainedModel
    model, info = AutoModelForImageTextToText.from_pretrained(source, output_loading_info=True, **settings, **NO_CODE)
    if missing := sorted(info["missing_keys"]):
        what = f"{len(missing)} weights are missing, for example {missing[0]}"
        raise InputError(what, file=source, remedy="download or save the checkpoint again")
    return model


def check_shards(source: str) -> None:
    """Check that an index of shards names files of its own folder; the hub checks its own.

    Raises:
        InputError: a path that leads outside, or a broken index.
    """
    for index in sorted(Path(source).glob("*.index.json")):
        try:
            names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
            outside = [name for name in names if PurePosixPath(name).name != name]
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise InputError(f"no index of shards ({type(error).__name__})", file=index) from None
        if outside:
            what = f"the shard {min(outside)[:80]!r} is not a file of this folder"
            raise InputError(what, file=index, remedy="download the checkpoint again")


def _check_chat_template(processor: Any) -> None:
    """Check that a chat template writes the images and texts of a conversation."""
    text = chat_text(
        processor, [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Describe."}]}]
    )
    if text.count(IMAGE_TOKEN) != 1 or "Describe." not in text:
        raise ValueError("its chat template leaves out an image or a text")


def _check_extent(source: str) -> None:
    """Check that a folder's files can hold the weights that its configuration describes; those that they lack would be
    allocated before they are missed. An adapter's are elsewhere.

    Raises:
        InputError: they are too small.
    """
    import torch

    folder = Path(source)
    if not folder.is_dir() or (folder / "adapter_config.json").exists():
        return
    held = sum(file.stat().st_size for kind in ("*.safetensors", "*.bin") for file in folder.glob(kind))
    with torch.device("meta"):
        described = sum(weight.numel() for weight in build(load_config(source)).parameters())
    if described > _PER_BYTE * held:
        what = f"weights are missing: the configuration describes {described:,}, the files have {held:,} bytes"
        raise InputError(what, file=source, remedy="download or save the checkpoint again")


def reason(error: Exception) -> str:
    """The beginning of an error's first line, or its kind."""
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
