"""Loading of vision-language models: hub checkpoints, a run's `final/`, and tiny models, by the same code."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reasoner_rm.config import Quantization
from reasoner_rm.errors import InputError
from reasoner_rm.models.families import VISUAL_TOKENS, Family, get_family
from reasoner_rm.models.hub_ids import check_hub_id
from reasoner_rm.models.pretrained import build, check_sizes, load_config, load_processor, load_weights, reason
from reasoner_rm.models.quantization import disable_repacking, quantized
from reasoner_rm.utils.parse_files import read_json

if TYPE_CHECKING:
    from transformers import PreTrainedModel

ASSETS = Path(__file__).parent / "assets"
BUILTIN = "builtin:"


@dataclass(slots=True)
class Vlm:
    """A model with its processor and family adapter.

    ``banned_token_ids`` may never be sampled; ``stop_token_ids`` end a completion. ``adapter`` is the PEFT model around
    ``model``'s LoRA layers, None without any.
    """

    model: PreTrainedModel
    processor: Any
    family: Family
    banned_token_ids: tuple[int, ...]
    stop_token_ids: tuple[int, ...]
    source: str
    adapter: Any | None = None

    @property
    def tokenizer(self) -> Any:
        return self.processor.tokenizer

    @property
    def device(self) -> Any:
        return self.model.device


def model_location(path_or_id: str | Path) -> str:
    """A run directory means its `final/`; `builtin:NAME` a model shipped with the package; else unchanged.

    Raises:
        InputError: no such builtin model.
    """
    name = str(path_or_id)
    if name.startswith(BUILTIN):
        path = ASSETS / name.removeprefix(BUILTIN)
        if not path.is_dir():
            known = ", ".join(BUILTIN + p.name for p in sorted(ASSETS.iterdir()) if p.is_dir())
            raise InputError(f"no builtin model {name!r}", remedy=f"known: {known}")
        return str(path)
    if (Path(name) / "final").is_dir():
        return str(Path(name) / "final")
    return name


def resolve_model(path_or_id: str | Path) -> str:
    """The folder or hub id of a model that is there.

    Raises:
        InputError: as `model_location`; a folder that is no checkpoint; neither a folder nor a model of the hub.
    """
    name = model_location(path_or_id)
    if not Path(name).is_dir():
        check_hub_id(name)
    elif not (Path(name) / "config.json").is_file():
        raise InputError("no config.json: not a checkpoint", file=name, remedy="give a checkpoint folder or a run")
    return name


def load_architecture(source: str) -> Any:
    """The configuration of a checkpoint, without weights.

    Raises:
        InputError: it cannot be read, is of an architecture that is not supported, or has sizes or ends of turn that
            no model has.
    """
    config = load_config(source)
    get_family(config, source)
    check_sizes(config, source)
    generation = Path(source) / "generation_config.json"
    if generation.is_file():  # transformers takes defaults, another end of turn among them, for one that is damaged
        ends = read_json(generation, remedy="download or save it again").get("eos_token_id")
        rows = config.get_text_config().vocab_size
        for end in ends if isinstance(ends, list) else [ends]:
            if end is not None and not (type(end) is int and 0 <= end < rows):
                raise InputError(f"eos_token_id is {end!r:.60}", file=generation, remedy=f"give ids below {rows}")
    return config


def load_vlm(
    path_or_id: str | Path,
    *,
    dtype: str = "auto",
    min_pixels: int | None = None,
    max_pixels: int | None = None,
    attn_implementation: str | None = None,
    device: str | None = None,
    weights: bool = True,
    quantize: Quantization | None = None,
) -> Vlm:
    """Load a Qwen-VL-class checkpoint from a folder or by hub id.

    Args:
        path_or_id: a checkpoint folder, a run directory, `builtin:NAME`, or a hub id.
        dtype: `auto` keeps the checkpoint's, but fp32 for one in fp16 on a CPU, which computes slowly in that; or
            `float32`, `bfloat16`, `float16`.
        min_pixels, max_pixels: bounds of an image after resizing; None keeps the processor's own.
        device: None: CUDA when present, else the CPU.
        weights: False: on torch's meta device, without weights, for an engine that loads its own.
        quantize: quantise the language model, see :mod:`reasoner_rm.models.quantization`.

    Raises:
        InputError: nothing there, a broken checkpoint, or another architecture.
    """
    import torch
    from transformers import GenerationConfig
    from transformers.utils import is_flash_attn_2_available

    source = resolve_model(path_or_id)
    config = load_architecture(source)
    family = get_family(config, source)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    if dtype == "auto" and device == "cpu" and config.dtype == torch.float16:
        dtype = "float32"
    if (attn_implementation or "").startswith("flash_attention") and not is_flash_attn_2_available():
        raise InputError(
            f"model.attn_implementation is {attn_implementation}, and flash-attn is not installed here",
            remedy="install it, or leave the setting out: torch's own attention has fused kernels, too",
        )
    kwargs: dict[str, Any] = {"attn_implementation": attn_implementation} if attn_implementation else {}
    try:
        if weights:
            if quantize is not None:
                computed = (config.dtype or torch.float32) if dtype == "auto" else getattr(torch, dtype)
                kwargs |= {"quantization_config": quantized(quantize, computed), "device_map": {"": device}}
            model = load_weights(source, dtype=dtype, **kwargs)
            if quantize is None:
                model = model.to(device)
            disable_repacking(model)
        else:
            with torch.device("meta"):
                model = build(config, dtype=(config.dtype or "float32") if dtype == "auto" else dtype)
            model.generation_config = GenerationConfig.from_pretrained(source)
        processor = load_processor(source, config)
    except InputError:
        raise
    except Exception as error:  # transformers and safetensors raise many kinds on broken files
        raise InputError(
            f"broken checkpoint {source!r} ({reason(error)})", remedy="download or save it again"
        ) from None
    set_pixels(processor, min_pixels, max_pixels)
    return prepare(model.eval(), processor, family, source)


def prepare(model: PreTrainedModel, processor: Any, family: Family, source: str) -> Vlm:
    """A model and its processor as a :class:`Vlm`.

    In this process SDPA no longer uses cuDNN's kernel, which plans anew for every length.
    """
    import torch

    from reasoner_rm.models.attention import NAME, VISION_NAME
    from reasoner_rm.models.gated_delta import fork_linear_layers
    from reasoner_rm.models.token_logprobs import patch_lm_head
    from reasoner_rm.models.vision_cache import deduplicate_images

    torch.backends.cuda.enable_cudnn_sdp(False)
    patch_lm_head(model.lm_head)
    if family.supports_packing:
        tower = {"vision_config": VISION_NAME} if model.model.visual.config._attn_implementation == "sdpa" else {}
        model.set_attn_implementation({"text_config": NAME, **tower})
        fork_linear_layers(model.model.language_model)
        deduplicate_images(model.model.visual)
    tokenizer = processor.tokenizer
    vocab = tokenizer.get_vocab()
    padding = range(len(tokenizer), model.config.get_text_config().vocab_size)  # rows of the embedding without a token
    banned = tuple(vocab[token] for token in VISUAL_TOKENS if token in vocab) + tuple(padding)
    ends = model.generation_config.eos_token_id
    ends = ends if isinstance(ends, list) else [ends]
    stop = tuple(dict.fromkeys(int(e) for e in (*ends, tokenizer.eos_token_id) if e is not None))
    return Vlm(model, processor, family, banned, stop, source)


def set_pixels(processor: Any, min_pixels: int | None, max_pixels: int | None) -> None:
    """Set the bounds of a processed image's area in pixels; None keeps the processor's own.

    Raises:
        InputError: min_pixels is greater than max_pixels.
    """
    size = processor.image_processor.size
    high = max_pixels or size["longest_edge"]
    low = min_pixels or min(size["shortest_edge"], high)
    if low > high:
        raise InputError(f"min_pixels {low} is greater than max_pixels {high}")
    processor.image_processor.size = type(size)(shortest_edge=low, longest_edge=high)
