"""Who answers, and who listens: engines in this process, and servers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from reasoner_rm.config.base import Count, NonNegative, Positive, Section, Share

EngineName = Literal["auto", "transformers", "vllm", "http"]


class EndpointSection(Section):
    """An OpenAI-compatible server, or several replicas of one."""

    urls: Annotated[tuple[str, ...], Field(min_length=1)]
    """Each up to and including `/v1`."""
    model: str = ""
    """May be left out where only one is served."""
    api_key_env: str = "OPENAI_API_KEY"
    """The environment variable that holds the key: it never stands in a file."""
    concurrency: Count = 64
    """Requests under way at once, over all replicas."""
    timeout: Positive = 600.0
    """Seconds for one answer."""
    retries: Annotated[int, Field(ge=0)] = 5
    """How often a request is sent again after a refused connection, a time-out, 429 or 5xx."""
    requests_per_minute: Positive | None = None
    tokens_per_minute: Positive | None = None
    input_price: NonNegative = 0.0
    output_price: NonNegative = 0.0
    """Dollars for a million tokens."""
    budget: Positive | None = None
    """Dollars; it is checked before each request, so the last ones may pass it a little."""


class ListenerSection(Section):
    """The frozen model that reads along. Without a path there is none, and `listener_belief` cannot be used. With the
    path `policy`, a LoRA policy lends its weights as they were before the stage, adapter off, at no extra memory. With
    an `endpoint`, a server is asked instead: vLLM's, or another that goes on with an assistant's unfinished message."""

    path: str | None = None
    engine: Literal["transformers", "vllm"] = "transformers"
    """`vllm`: an engine of its own in this process, which holds its memory throughout; what the `engine` section says
    of keys and values, length and compilation holds for it, too."""
    gpu_memory_utilization: Annotated[float, Field(gt=0, le=1)] = 0.2
    """The share of a GPU's memory for that engine."""
    endpoint: EndpointSection | None = None
    max_failure_rate: Share = 0.1
    """The share of questions on which the server may fail, each a reading that is missing; beyond it the run stops."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    temperature: Positive = 1.0
    strip_verdict: bool = False
    both_orders: bool = False
    min_mass: Share = 0.05


class EngineSection(Section):
    """What rolls out. `auto`: vLLM in this process where it is installed and CUDA is there, else transformers; `http`:
    the server of `endpoint`. The rest is vLLM's: its own names where it has one, and `None` where it may choose."""

    name: EngineName = "auto"
    endpoint: EndpointSection | None = None
    weight_sync_dir: Path | None = None
    """With `http`, beside training: a folder that trainer and servers see under the same path, through which the
    policy's weights go before each rollout."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """`auto`: the policy's own. Another precision is another policy, by as much as `sampler_logprob_gap` shows."""
    gpu_memory_utilization: Annotated[float, Field(gt=0, le=1)] | None = None
    """The share of a GPU's memory for the engine's weights and its keys and values. None: 0.4 beside training, alone
    0.9 or what is free."""
    kv_cache_gb: Positive | None = None
    """So much for keys and values, in the place of that share. On a CPU: 1."""
    max_model_len: Count | None = None
    """The most tokens of a prompt with its completion. None: the model's own, or what memory allows."""
    tensor_parallel_size: Count = 1
    """GPUs for one engine. Beside training each process has an engine of its own, on its own GPU: 1."""
    enforce_eager: bool = False
    """Neither CUDA graphs nor compilation: a faster start, slower rollouts."""
    sleep: bool = True
    """Beside training on CUDA: the engine's memory is given back while the policy is trained."""
    max_logprob_gap: Positive = 0.1
    """How far the engine's log-probabilities may be from the trainer's in the mean, in nats, right after the weights
    were handed over. Beyond it the run stops: the engine answers for another model."""
