"""What the fork server of `launch_helpers` imports once, for all processes that it forks: libraries and both scripts.

The imports take 12 seconds of a core, more than most of the trainings and a start of vLLM do. Nothing here starts a
thread.
"""

from __future__ import annotations

import contextlib
import os

os.environ |= {"OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu", "CUDA_VISIBLE_DEVICES": ""}

import distributed_groups
import distributed_training
import peft
import torch

import reasoner_rm.models.loading
import reasoner_rm.training.grpo

with contextlib.suppress(ImportError):
    import deepspeed
with contextlib.suppress(ImportError):
    import vllm.entrypoints.openai.api_server
    import vllm.v1.worker.cpu_worker

__all__ = ["deepspeed", "distributed_groups", "distributed_training", "peft", "reasoner_rm", "torch", "vllm"]
