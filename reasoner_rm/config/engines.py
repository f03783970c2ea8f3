"""Engines in this process, servers, and the listener."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from reasoner_rm.config.base import Count, NonNegative, Positive, Section, Share, Temperature

EngineName = Literal["auto", "transformers", "vllm", "http"]


class EndpointSection(Section):
    """An OpenAI-compatible server, or several replicas of one."""

    urls: Annotated[tuple[str, ...], Field(min_length=1)]
    """URLs of the replicas, each up to and including `/v1`."""
    model: str = ""
    """The name of the model on the server; optional if the server has only one."""
    api_key_env: str = "OPENAI_API_KEY"
    """The environment variable with the API key. The key itself is never written to a file."""
    concurrency: Count = 64
    """Concurrent requests, over all replicas."""
    timeout: Positive = 600.0
    """Seconds for one response."""
    retries: Annotated[int, Field(ge=0)] = 5
    """Retries of a request after a refused connection, a timeout, 429 or 5xx."""
    requests_per_minute: Positive | None = None
    """The rate limit of requests; None: no limit."""
    tokens_per_minute: Positive | None = None
    """The rate limit of tokens, prompts and completions together; None: no limit."""
    input_price: NonNegative = 0.0
    """Dollars per million prompt tokens."""
    output_price: NonNegative = 0.0
    """Dollars per million completion tokens."""
    budget: Positive | None = None
    """The most dollars to spend. Checked before each request, so that the last requests may exceed it slightly."""


class ListenerSection(Section):
    """The frozen model that computes the probability of each option, given the images and the policy's reasoning."""

    path: str | None = None
    """A checkpoint or hub id. None: no listener, and `listener_belief` cannot be used. `policy`: the policy with its
    LoRA adapter disabled, which needs no extra memory."""
    engine: Literal["transformers", "vllm"] = "transformers"
    """`vllm`: a separate engine in this process, which keeps its memory during the whole stage. The `engine` section's
    settings of KV cache, length and compilation apply to it as well."""
    gpu_memory_utilization: Annotated[float, Field(gt=0, le=1)] = 0.2
    """The share of a GPU's memory for that engine."""
    endpoint: EndpointSection | None = None
    """A server instead of a model in this process: vLLM, or another that can continue an assistant message."""
    max_failure_rate: Share = 0.1
    """The largest share of failed requests, each of which is a missing belief; above it the run stops."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """The precision of the weights; `auto`: the checkpoint's."""
    temperature: Temperature = 1.0
    """Divides the logits of the options; a value above 1 flattens the belief."""
    strip_verdict: bool = False
    """Remove sentences that state a verdict from the reasoning before the listener reads it."""
    both_orders: bool = False
    """Average the beliefs of both candidate orders, with the reasoning relabelled; needs a second prefill."""
    min_mass: Share = 0.05
    """The smallest total probability of the option tokens (option mass); below it the belief is missing."""


class EngineSection(Section):
    """The engine of the rollouts. Keys without a counterpart in transformers are vLLM's, by vLLM's names."""

    name: EngineName = "auto"
    """`auto`: vLLM in this process if it is installed and CUDA is available, else transformers. `http`: the server of
    `endpoint`."""
    endpoint: EndpointSection | None = None
    """The server, for `http`."""
    weight_sync_dir: Path | None = None
    """With `http` in training: a folder with the same path for trainer and servers, through which the policy's weights
    are transferred before each rollout."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """`auto`: the policy's dtype. With another one the engine's probabilities differ; see `sampler_logprob_gap`."""
    gpu_memory_utilization: Annotated[float, Field(gt=0, le=1)] | None = None
    """The share of a GPU's memory for the engine's weights and KV cache. None: 0.4 in training, otherwise 0.9 or the
    free memory."""
    kv_cache_gb: Positive | None = None
    """GB for the KV cache, instead of that share. None on a CPU: 1."""
    max_model_len: Count | None = None
    """The most tokens of a prompt with its completion. None: the model's limit, or the memory's."""
    tensor_parallel_size: Count = 1
    """GPUs per engine. In training each process has its own engine on its own GPU: 1."""
    enforce_eager: bool = False
    """Disable CUDA graphs and compilation: a faster start, slower rollouts."""
    sleep: bool = True
    """In training on CUDA: free the engine's memory during the update (sleep mode)."""
    max_logprob_gap: Positive = 0.1
    """The largest mean absolute difference, in nats, between the engine's log-probabilities and the trainer's in the
    first update after a weight transfer. Above it the run stops: the engine does not sample from the policy."""
