"""What the stages of a run share: samples, policy, engines, and the summary."""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from reasoner_rm import distributed
from reasoner_rm.config import Config, EngineSection, Quantization
from reasoner_rm.data.io import load_samples
from reasoner_rm.errors import InputError
from reasoner_rm.models.box_converter import BoxConverter
from reasoner_rm.models.fused_layers import fuse_layers
from reasoner_rm.models.loading import Vlm, load_vlm
from reasoner_rm.models.lora import add_lora
from reasoner_rm.models.param_groups import freeze
from reasoner_rm.models.prompt_encoder import PromptEncoder
from reasoner_rm.models.quantization import check_quantize, is_quantized
from reasoner_rm.models.vision_cache import cache_features
from reasoner_rm.rollout import RolloutEngine
from reasoner_rm.rollout.base import closing
from reasoner_rm.rollout.factory import engine_from_config, resolve_engine
from reasoner_rm.schema import Sample
from reasoner_rm.tasks import get_task
from reasoner_rm.tasks.render import Template, load_template
from reasoner_rm.training.run_dir import SUMMARY, RunDir


class RunContext:
    """One run: its configuration and directory, and functions to load its samples, policy and engines.

    Args:
        resume: stages continue from their last state.
    """

    def __init__(self, config: Config, run: RunDir, resume: bool = False):
        get_task(config.task)
        self.config = config
        self.run = run
        self.resume = resume
        self._samples: dict[str, list[Sample]] = {}
        self.template: Template = load_template(config.task, config.template)

    def samples(self, name: str) -> list[Sample]:
        """The samples of a data file, all of the run's task.

        Raises:
            InputError: the config names no such file; the file cannot be read; a sample is of another task.
        """
        if name in self._samples:
            return self._samples[name]
        file = getattr(self.config.data, name)
        if file is None:
            raise InputError(f"data.{name} is not set", remedy=f"name a JSONL file as data.{name} in the config")
        samples = load_samples(file)
        for line, sample in enumerate(samples, start=1):
            if sample.task != self.config.task:
                raise InputError(
                    f"sample {sample.id!r} is {sample.task}, the run is {self.config.task}", file=file, line=line
                )
        self._samples[name] = samples
        return samples

    @contextmanager
    def engine(
        self, settings: EngineSection, path: str | Path | None = None
    ) -> Iterator[tuple[RolloutEngine, BoxConverter]]:
        """A context manager: an engine with the policy of `load_policy(path)`, and the policy's box converter.

        The weights are loaded once, by the engine.

        Raises:
            InputError: as `engine_from_config`.
        """
        with_weights = resolve_engine(settings.name).name == "transformers"
        encoder = PromptEncoder(self.load_policy(path, weights=with_weights))
        with closing(engine_from_config(encoder.vlm, settings, encoder)) as engine:
            yield engine, BoxConverter.of(encoder)

    def load_policy(
        self,
        path: str | Path | None = None,
        device: str | None = None,
        weights: bool = True,
        quantize: Quantization | None = None,
        dtype: str | None = None,
    ) -> Vlm:
        """The policy from a path or else from the last completed stage; without ``weights`` its architecture only.

        Args:
            dtype: in place of `model.dtype`.
        """
        model = self.config.model
        vlm = load_vlm(
            path or self.run.latest() or model.path,
            dtype=dtype or model.dtype,
            min_pixels=model.min_pixels,
            max_pixels=model.max_pixels,
            attn_implementation=model.attn_implementation,
            device=device,
            weights=weights,
            quantize=quantize,
        )
        freeze(vlm.model, model.freeze)
        if model.cache_features and weights:
            if not {"vision", "merger"} <= set(model.freeze) or not vlm.family.supports_packing:
                raise InputError(
                    "model.cache_features needs a frozen vision tower", remedy="set model.freeze: [vision, merger]"
                )
            cache_features(vlm.model.model.visual)
        return vlm

    def load_trainable(self, path: str | Path | None = None, device: str | None = None) -> Vlm:
        """The policy for training: quantised and with LoRA layers if the config says so.

        Raises:
            InputError: trained weights would be quantised; as `fuse_layers`.
        """
        model = self.config.model
        check_quantize(model)
        vlm = self.load_policy(path, device, quantize=model.quantize, dtype=trained_dtype(self.config))
        if model.fused_layers is not None:
            fuse_layers(vlm.model, model.fused_layers)
        if model.lora is not None:
            return add_lora(vlm, model.lora, self.config.run.seed)
        if is_quantized(vlm.model):
            raise InputError(f"{vlm.source}: quantised weights cannot be trained", remedy="set model.lora")
        return vlm

    def add_counts(self, **counts: int) -> None:
        """Add row counts, by use, to `summary.json`."""
        self.update_summary(data=self.run.summary().get("data", {}) | counts)

    def update_summary(self, **values: Any) -> None:
        """Add values to `summary.json`, with seed, task, models and peak memory."""
        if not distributed.is_main():
            return
        summary = self.run.summary() | values
        summary |= {
            "seed": self.config.run.seed,
            "task": self.config.task,
            "base": self.config.model.path,
            "listener": self.config.listener.path,
            "peak_rss_mb": max(peak_rss_mb(), summary.get("peak_rss_mb", 0)),
        }
        self.run.write_json(SUMMARY, summary)


def trained_dtype(config: Config) -> str:
    """The precision of the weights in training. AdamW on half-precision weights loses small updates: bfloat16 has 8
    significant bits, and an update of 1e-6 is far below those of most weights."""
    model = config.model
    alone = model.lora is None and config.run.deepspeed is None
    return "float32" if model.dtype == "auto" and alone else model.dtype


def peak_rss_mb() -> float:
    """The peak resident memory of this process, in MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10), 1)
