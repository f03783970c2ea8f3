"""A hundred hostile model folders and cards: each is a small checkpoint that `SPOILED` changes in one way."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file

from reasoner_rm.models.judge_checkpoint import FILE as CARD
from reasoner_rm.models.judge_checkpoint import JudgeConfig
from reasoner_rm.tasks.render import load_template

CONFIG, PROCESSOR, TOKENIZER = "config.json", "processor_config.json", "tokenizer_config.json"
GENERATION, TEMPLATE, WEIGHTS = "generation_config.json", "chat_template.jinja", "model.safetensors"
HUGE, DEEP = 10**400, 100_000

Spoil = Callable[[Path], None]


class Touch:
    """Creates a file when it is unpickled."""

    def __init__(self, file: Path):
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.file,)


def make(folder: Path, base: Path, name: str) -> Path:
    """The hostile folder of a name: a copy of a checkpoint, in a folder that holds nothing else. What code of it would
    write is `ran` in the folder above; `outside` there is what it has no reason to read."""
    path = folder / "model"
    shutil.copytree(base, path)
    code = f"from pathlib import Path\nPath({str(folder / 'ran')!r}).touch()\n"
    (path / "own.py").write_text(code + "class Own:\n    pass\n")
    (folder / "outside").mkdir()
    shutil.copyfile(base / WEIGHTS, folder / "outside" / WEIGHTS)
    SPOILED[name](path)
    return path


def put(file: str, content: bytes | str) -> Spoil:
    """Another content of a file."""
    data = content.encode() if isinstance(content, str) else content
    return lambda f: (f / file).write_bytes(data) and None


def replace(file: str, path: str, value: Any) -> Spoil:
    """Another value under a path of keys, such as `vision_config.patch_size`; DROP removes it."""

    def spoil(folder: Path) -> None:
        whole = json.loads((folder / file).read_text()) if (folder / file).exists() else {}
        *parents, last = path.split(".")
        inner = whole
        for key in parents:
            inner = inner.setdefault(key, {})
        inner[last] = value
        if value is DROP:
            del inner[last]
        (folder / file).write_text(json.dumps(whole))

    return spoil


DROP = object()


def card(**values: Any) -> Spoil:
    """A judge's card with other values."""
    whole = JudgeConfig("image_preference", load_template("image_preference", "default")).as_json()
    return put(CARD, json.dumps(whole | values))


def template(text: str) -> Spoil:
    return card(template={"name": "own", "text": text, "hash": "x"})


def header(values: Any, data: bytes = b"") -> Spoil:
    """Weights with another header."""
    head = values if isinstance(values, bytes) else json.dumps(values).encode()
    return put(WEIGHTS, struct.pack("<Q", len(head)) + head + data)


def tensors(change: Callable[[dict[str, Any]], dict[str, Any]]) -> Spoil:
    """Other weights."""

    def spoil(folder: Path) -> None:
        save_file(change(load_file(folder / WEIGHTS)), folder / WEIGHTS, {"format": "pt"})

    return spoil


def index(where: str, names: Any = None) -> Spoil:
    """An index of shards that leads elsewhere."""

    def spoil(folder: Path) -> None:
        found = names if names is not None else dict.fromkeys(load_file(folder / WEIGHTS), where)
        (folder / WEIGHTS).unlink()
        (folder / f"{WEIGHTS}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": found}))

    return spoil


def pickled(folder: Path) -> None:
    """Weights as a pickle that calls a function."""
    (folder / WEIGHTS).unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Touch(folder.parent / "ran")))


def pickled_shards(folder: Path) -> None:
    names = dict.fromkeys(load_file(folder / WEIGHTS), "pytorch_model-1.bin")
    (folder / WEIGHTS).unlink()
    (folder / "pytorch_model-1.bin").write_bytes(pickle.dumps(Touch(folder.parent / "ran")))
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": names}))


def adapter(base: str) -> Spoil:
    """An adapter whose base is elsewhere, beside a whole model."""
    values = {"peft_type": "LORA", "base_model_name_or_path": base, "r": 1, "target_modules": ["q_proj"]}
    return put("adapter_config.json", json.dumps(values))


def pipe(file: str) -> Spoil:
    def spoil(folder: Path) -> None:
        (folder / file).unlink(missing_ok=True)
        os.mkfifo(folder / file)

    return spoil


def linked(file: str, target: str) -> Spoil:
    def spoil(folder: Path) -> None:
        (folder / file).unlink(missing_ok=True)
        (folder / file).symlink_to(target)

    return spoil


def removed(*files: str) -> Spoil:
    return lambda folder: [(folder / file).unlink() for file in files] and None


def both(*spoils: Spoil) -> Spoil:
    return lambda folder: [spoil(folder) for spoil in spoils] and None


OWN = {
    "AutoConfig": "own.Own", "AutoModel": "own.Own", "AutoModelForImageTextToText": "own.Own",
    "AutoProcessor": "own.Own", "AutoTokenizer": ["own.Own", "own.Own"], "AutoImageProcessor": "own.Own",
}  # fmt: skip
IMAGE = "image_processor"

SPOILED: dict[str, Spoil] = {
    **{
        f"{file} {what}": put(file, content)
        for file in (CONFIG, PROCESSOR, CARD)
        for what, content in {
            "empty": "", "a list": "[]", "null": "null", "a number": "7", "deep": "[" * DEEP,
            "deep and closed": '{"a":' * DEEP + "1" + "}" * DEEP, "not UTF-8": b'{"a": "\xff"}', "cut off": '{"a": ',
        }.items()
    },
    "a configuration that is a pipe": pipe(CONFIG),
    "a configuration that is a device": linked(CONFIG, "/dev/zero"),
    "a configuration that is a link to itself": linked(CONFIG, CONFIG),
    "no configuration": removed(CONFIG),
    "a class of its own": both(replace(CONFIG, "model_type", "own"), replace(CONFIG, "auto_map", OWN)),
    "a processor of its own": both(
        replace(PROCESSOR, "auto_map", OWN), replace(PROCESSOR, "processor_class", "Own"),
        replace(TOKENIZER, "processor_class", "Own"), replace(CONFIG, "auto_map", OWN),
    ),
    "kernels of its own": replace(CONFIG, "attn_implementation", "evil/kernel"),
    **{
        f"{path} {value!r:.20}": replace(CONFIG, path, value)
        for path, values in {
            "model_type": (["qwen2_5_vl"], None, "llama"), "text_config": (7, [], None), "vision_config": ("a", None),
            "text_config.hidden_size": (0, -1, "128", HUGE), "text_config.vocab_size": (0, 10**12, None),
            "text_config.num_hidden_layers": (10**9, "3", -1), "text_config.num_attention_heads": (0, 3),
            "text_config.rope_parameters": (7, {"rope_type": "own"}), "text_config.max_position_embeddings": (0, "x"),
            "text_config.hidden_act": ("own",), "text_config.layer_types": ([], "full"), "dtype": ("float128", 7),
            "vision_config.patch_size": (0, -14, "14", HUGE), "vision_config.spatial_merge_size": (0, -2, None),
            "vision_config.temporal_patch_size": (0, 10**9), "vision_config.num_heads": (0,),
            "vision_config.window_size": (0,), "vision_config.depth": (10**9, "3"), "image_token_id": ("x", 10**9),
            "quantization_config": (7,), "vision_config.in_channels": (0,),
        }.items()
        for value in values
    },
    **{
        f"processor {path} {value!r:.20}": replace(PROCESSOR, f"{IMAGE}.{path}", value)
        for path, values in {
            "patch_size": (0, -14, "14", HUGE), "merge_size": (0, 1.5), "temporal_patch_size": (0,),
            "size": ({"longest_edge": "x", "shortest_edge": 1}, {"longest_edge": 0, "shortest_edge": 0}, [1]),
            "image_mean": ([], "x"), "image_std": ([0, 0, 0],), "rescale_factor": ("x",), "resample": (99,),
            "image_processor_type": ("OwnImageProcessor", ["x"]),
        }.items()
        for value in values
    },
    "weights that are no file of weights": put(WEIGHTS, b"\x00" * 100),
    "weights of an endless header": put(WEIGHTS, struct.pack("<Q", 2**62) + b"{}"),
    "weights of deep lists": header(b"[" * DEEP),
    "weights outside the file": header({"lm_head.weight": {"dtype": "F32", "shape": [9], "data_offsets": [0, 36]}}),
    "weights of huge shapes": header(
        {"lm_head.weight": {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 4]}}, b"\0" * 4
    ),
    "five weights": tensors(lambda t: dict(list(t.items())[:5])),
    "no norms": tensors(lambda t: {name: value for name, value in t.items() if "norm" not in name}),
    "weights of other shapes": tensors(lambda t: {name: value[..., :1].contiguous() for name, value in t.items()}),
    "no weights": removed(WEIGHTS),
    "weights as a pickle": pickled,
    "shards as pickles": pickled_shards,
    "a shard outside": index(f"../outside/{WEIGHTS}"),
    "a shard by its whole path": lambda f: index(str(f.parent / "outside" / WEIGHTS))(f),
    "a shard that is missing": index("other.safetensors"),
    "an index of numbers": index("", names=[1]),
    "an adapter without weights": adapter("../outside"),
    "a tokenizer that is a list": put("tokenizer.json", "[]"),
    "a tokenizer of deep lists": put("tokenizer.json", "[" * DEEP),
    "no tokenizer": removed("tokenizer.json", TOKENIZER),
    "a tokenizer's class that is a list": replace(TOKENIZER, "tokenizer_class", ["x"]),
    "an end of turn that is a text": replace(GENERATION, "eos_token_id", "x"),
    "an end of turn beyond the vocabulary": replace(GENERATION, "eos_token_id", 10**30),
    "generation settings that are a list": put(GENERATION, "[]"),
    "a card with a huge temperature": card(temperature=HUGE),
    "a card with temperature 0": card(temperature=0),
    "a card with temperature NaN": card(temperature=float("nan")),
    "a card with pixels as a text": card(min_pixels="many"),
    "a card with huge pixels": card(max_pixels=HUGE),
    "a card of an unknown task": card(task="own"),
    "a card with a listener that is a list": card(listener=[]),
    "a card with half a character": template("\ud800"),
    "a card of endless loops": template("{% for i in range(10**12) %}{% endfor %}"),
    "a card of a huge text": template("{{ 'a' * 10**11 }}"),
    "a card that includes a file": template("{% include '/etc/passwd' %}"),
    "a card that recurses": template("{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}"),
    "a card that reaches for classes": template("{{ ''.__class__.__mro__ }}"),
    "a chat template that does not end": put(TEMPLATE, "{% for i in range(99999) %}" * 9 + "{% endfor %}" * 9),
    "a chat template of a huge text": put(TEMPLATE, "{{ 'a' * 10**11 }}"),
    "a chat template that doubles": put(TEMPLATE, "{% set a = 'a' %}" + "{% set a = a ~ a %}" * 60 + "{{ a }}"),
    "a chat template that calls itself": put(TEMPLATE, "{% macro a() %}{{ a() }}{{ a() }}{% endmacro %}{{ a() }}"),
    "a chat template that includes a file": put(TEMPLATE, "{% include '/etc/passwd' %}"),
    "a chat template that reaches for classes": put(TEMPLATE, "{{ ''.__class__.__mro__[1].__subclasses__() }}"),
    "a chat template without its images": put(TEMPLATE, "{{ messages[0].role }}"),
    "a chat template that is no template": put(TEMPLATE, "{% for"),
}  # fmt: skip
