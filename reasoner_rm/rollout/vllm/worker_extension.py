"""What a vLLM server that follows a policy in training runs in its workers.

    VLLM_SERVER_DEV_MODE=1 vllm serve MODEL \\
        --worker-extension-cls reasoner_rm.rollout.vllm.worker_extension.WeightUpdateWorker

vLLM's own handing over of weights to a server is CUDA's. This one goes through a file that trainer and server both
see, so that it works on every device and over every network that has a shared file system.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors import safe_open

from reasoner_rm.rollout.vllm.cpu_weights import keep_weights

keep_weights()  # vLLM imports this file in each worker, before there is a model


class WeightUpdateWorker:
    """Becomes a base class of vLLM's worker; its methods are called by `/collective_rpc`."""

    model_runner: Any

    def can_read(self, folder: str) -> dict[str, bool]:
        """Whether a folder is there."""
        return {"can_read": Path(folder).is_dir()}

    def load_weights_file(self, file: str) -> dict[str, list[str]]:
        """Load weights by their checkpoint's names from a safetensors file; the names of those that were not in it.

        Each worker of a tensor parallel group takes its own part.
        """
        model = self.model_runner.model
        with safe_open(file, framework="pt") as weights:
            loaded = model.load_weights((name, weights.get_tensor(name)) for name in weights.keys())  # noqa: SIM118
        return {"missing": sorted({name for name, _ in model.named_parameters()} - set(loaded))}
