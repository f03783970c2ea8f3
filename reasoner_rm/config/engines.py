"""Engines in this process, servers, and the listener."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from reasoner_rm.config.base import Count, NonNegative, Positive, Section, Share

EngineName = Literal["auto", "transformers", "vllm", "http"]


class EndpointSection(Section):
    """An OpenAI-compatible server, or several replicas of one."""

    urls: Annotated[tuple[str, ...], Field(min_length=1)]
    """Addresses of the replicas, each up to and including `/v1`."""
    model: str = ""
    """The name of the model on the server; may be left out where only one is served."""
    api_key_env: str = "OPENAI_API_KEY"
    """The environment variable that holds the key, which is written to no file."""
    concurrency: Count = 64
    """Requests under way at once, over all replicas."""
    timeout: Positive = 600.0
    """Seconds for one answer."""
    retries: Annotated[int, Field(ge=0)] = 5
    """How often a request is sent again after a refused connection, a time-out, 429 or 5xx."""
    requests_per_minute: Positive | None = None
    """The rate limit of requests; None: no limit."""
    tokens_per_minute: Positive | None = None
    """The rate limit of tokens, prompts and completions together; None: no limit."""
    input_price: NonNegative = 0.0
    """Dollars for a million prompt tokens."""
    output_price: NonNegative = 0.0
    """Dollars for a million completion tokens."""
    budget: Positive | None = None
    """Dollars that may be spent; checked before each request, so that the last ones may exceed it a little."""


class ListenerSection(Section):
    """The frozen model that reads the policy's reasoning and says how much it believes each option."""

    path: str | None = None
    """A checkpoint or hub id. None: there is no listener, and `listener_belief` cannot be used. `policy`: the base
    weights of a LoRA policy, adapter off, at no extra memory."""
    engine: Literal["transformers", "vllm"] = "transformers"
    """`vllm`: an engine of its own in this process, which holds its memory throughout. The `engine` section's settings
    of keys and values, length and compilation hold for it, too."""
    gpu_memory_utilization: Annotated[float, Field(gt=0, le=1)] = 0.2
    """The share of a GPU's memory for that engine."""
    endpoint: EndpointSection | None = None
    """A server that is asked instead: vLLM's, or another that continues an assistant's unfinished message."""
    max_failure_rate: Share = 0.1
    """The share of questions that the server may fail on, each a missing belief; beyond it the run stops."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """The precision of the weights; `auto`: the checkpoint's."""
    temperature: Positive = 1.0
    """Divides the logits of the options; above 1 softens the belief."""
    strip_verdict: bool = False
    """Remove sentences that state a verdict from the reasoning before the listener reads it."""
    both_orders: bool = False
    """Ask in both orders of the candidates, relabelled in the reasoning, and average: a second prefill."""
    min_mass: Share = 0.05
    """The least probability that the options hold together; below it the belief is missing."""


class EngineSection(Section):
    """What rolls out. Keys without a counterpart in transformers are vLLM's, by vLLM's names."""

    name: EngineName = "auto"
    """`auto`: vLLM in this process where it is installed and CUDA is there, else transformers. `http`: the server of
    `endpoint`."""
    endpoint: EndpointSection | None = None
    """The server, for `http`."""
    weight_sync_dir: Path | None = None
    """With `http`, beside training: a folder that trainer and servers see under the same path, through which the
    policy's weights go before each rollout."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """`auto`: the policy's own. Another precision is another policy, by as much as `sampler_logprob_gap` shows."""
    gpu_memory_utilization: Annotated[float, Field(gt=0, le=1)] | None = None
    """The share of a GPU's memory for the engine's weights and its keys and values. None: 0.4 beside training, alone
    0.9 or what is free."""
    kv_cache_gb: Positive | None = None
    """GB for keys and values, in place of that share. None on a CPU: 1."""
    max_model_len: Count | None = None
    """The most tokens of a prompt with its completion. None: the model's own, or what memory allows."""
    tensor_parallel_size: Count = 1
    """GPUs for one engine. Beside training each process has an engine of its own, on its own GPU: 1."""
    enforce_eager: bool = False
    """Neither CUDA graphs nor compilation: a faster start, slower rollouts."""
    sleep: bool = True
    """Beside training on CUDA: the engine's memory is given back while the policy is trained."""
    max_logprob_gap: Positive = 0.1
    """The greatest mean difference, in nats, between the engine's log-probabilities and the trainer's, right after the
    weights were handed over. Beyond it the run stops: the engine samples from another model."""
