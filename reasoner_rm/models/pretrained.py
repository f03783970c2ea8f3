"""Reading a checkpoint that may be a stranger's: none of its code is run, no file outside its folder is read, and no
weight is left as it was initialised."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from reasoner_rm.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

NO_CODE = {"trust_remote_code": False}
"""For everything that transformers loads. By default it asks on standard input whether to run a checkpoint's code."""


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


def load_processor(source: str) -> Any:
    """The processor of a checkpoint. Raises what transformers raises."""
    from transformers import AutoProcessor

    return AutoProcessor.from_pretrained(source, **NO_CODE)


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


def reason(error: Exception) -> str:
    """The first line of an error, or its kind."""
    return (str(error).splitlines() or [type(error).__name__])[0]
