"""Rollouts from vLLM servers that follow the policy in training: its weights travel through a shared folder."""

from __future__ import annotations

import itertools
import time
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from reasoner_rm import distributed
from reasoner_rm.client.http_errors import RequestRejected
from reasoner_rm.client.openai_client import OpenAIClient
from reasoner_rm.errors import InputError, ServiceError
from reasoner_rm.models.prompt_encoder import PromptEncoder
from reasoner_rm.rollout.http_engine import HttpEngine

RPC, PREFIX, ENCODER = "/../collective_rpc", "/../reset_prefix_cache", "/../reset_encoder_cache"
EMPTYING = 10.0
"""Seconds that a server gets to let go of requests that were called off."""


class SyncedHttpEngine(HttpEngine):
    """An engine whose servers load the policy's weights before each rollout. See `rollout/vllm/worker_extension.py`.

    Under `torchrun` all processes share the servers; the first one writes the weights and has them loaded, and the
    others wait.

    Args:
        folder: which this process and the servers see under the same path. A file as large as the model is in it
            while weights are handed over.

    Raises:
        InputError: a server that was not started to follow, or sees no such folder.
    """

    def __init__(self, endpoint: OpenAIClient, encoder: PromptEncoder, folder: Path):
        super().__init__(endpoint, encoder)
        self.folder = folder.absolute()
        self._names = (f"{uuid.uuid4().hex[:8]}-{n}.safetensors" for n in itertools.count())
        with distributed.raise_on_all_ranks():
            if distributed.is_main():
                self._check()

    def update_weights(self, weights: Iterable[tuple[str, Tensor]]) -> None:
        """Have every server load the policy's weights, and forget what it computed with the old ones.

        Raises:
            RuntimeError: some of a server's weights were not among them.
            ServiceError: a server failed or went away, or the folder is full.
        """
        first = distributed.is_main()
        held = {}
        for name, weight in weights:  # sharded weights are gathered one by one: every process iterates
            if first:
                held[name] = weight.to("cpu", copy=True).contiguous()
        with distributed.raise_on_all_ranks():
            if first:
                self._hand_over(held)

    def _check(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"{self.folder}: {error.strerror}", remedy="name a folder as engine.weight_sync_dir"
            ) from None
        try:
            seen = self._rpc("can_read", self.folder)
        except (RequestRejected, ServiceError) as error:
            raise InputError(
                f"{self.endpoint.urls[0]} does not follow a policy ({error})",
                remedy="start it with VLLM_SERVER_DEV_MODE=1 and --worker-extension-cls "
                "reasoner_rm.rollout.vllm.worker_extension.WeightUpdateWorker",
            ) from None
        if not all(one["can_read"] for one in seen):
            raise InputError(
                f"a server does not see the folder {self.folder}",
                remedy="set engine.weight_sync_dir to a folder that trainer and servers share",
            )

    def _hand_over(self, weights: dict[str, Tensor]) -> None:
        file = self.folder / next(self._names)
        try:
            self._write(weights, file)
            missing = [name for one in self._rpc("load_weights_file", file) for name in one["missing"]]
        finally:
            file.unlink(missing_ok=True)
        if missing:
            raise RuntimeError(f"weights that the server was not handed: {', '.join(missing[:5])}")
        self._empty_caches()

    def _write(self, weights: dict[str, Tensor], file: Path) -> None:
        try:
            save_file(weights, file)
        except (OSError, SafetensorError) as error:
            raise ServiceError(
                f"the weights cannot be written into {self.folder} ({error})",
                remedy="make room there, or set engine.weight_sync_dir to another folder that the servers see",
            ) from None

    def _empty_caches(self) -> None:
        self.endpoint.post_to_all(ENCODER, {})
        end = time.monotonic() + EMPTYING
        while not all(answer["success"] for answer in self.endpoint.post_to_all(PREFIX, {})):
            if time.monotonic() > end:
                raise ServiceError(f"{self.endpoint.urls[0]} still works on requests of others, with old weights")
            time.sleep(0.1)

    def _rpc(self, method: str, path: Path) -> list[dict[str, Any]]:
        """What every worker of every server answers."""
        answers = self.endpoint.post_to_all(RPC, {"method": method, "args": [str(path)]})
        return [one for answer in answers for one in answer["results"]]
