"""What the stages of a run share: samples, models, engines, and the summary."""

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
from reasoner_rm.training.run_dir import RunDir


class RunContext:
    """One run: its configuration, its directory, and the means that its stages work with.

    Args:
        resume: stages go on from where they were stopped or killed.
    """

    def __init__(self, config: Config, run: RunDir, resume: bool = False):
        get_task(config.task)
        self.config = config
        self.run = run
        self.resume = resume
        self.template: Template = load_template(config.task, config.template)

    def samples(self, name: str) -> list[Sample]:
        """The samples of a data file, all of the run's task.

        Raises:
            InputError: the file is not named in the config, bad, or of another task.
        """
        file = getattr(self.config.data, name)
        if file is None:
            raise InputError(f"data.{name} is not set", remedy=f"name a JSONL file as data.{name} in the config")
        samples = load_samples(file)
        for line, sample in enumerate(samples, start=1):
            if sample.task != self.config.task:
                raise InputError(
                    f"sample {sample.id!r} is {sample.task}, the run is {self.config.task}", file=file, line=line
                )
        return samples

    @contextmanager
    def engine(
        self, settings: EngineSection, path: str | Path | None = None
    ) -> Iterator[tuple[RolloutEngine, BoxConverter]]:
        """An engine that answers with the policy as `policy` finds it, and the canvas on which that draws; closed at
        the end. Weights are loaded once, by who answers with them.

        Raises:
            InputError: as `engine_for`.
        """
        here = resolve_engine(settings.name).name == "transformers"
        encoder = PromptEncoder(self.policy(path, weights=here))
        with closing(engine_from_config(encoder.vlm, settings, encoder)) as engine:
            yield engine, BoxConverter.of(encoder)

    def policy(
        self,
        path: str | Path | None = None,
        device: str | None = None,
        weights: bool = True,
        quantize: Quantization | None = None,
    ) -> Vlm:
        """The policy from a path, or from the last stage that was run; its shape only, without ``weights``."""
        model = self.config.model
        vlm = load_vlm(
            path or self.run.latest() or model.path,
            dtype=model.dtype,
            min_pixels=model.min_pixels,
            max_pixels=model.max_pixels,
            attn_implementation=model.attn_implementation,
            device=device,
            weights=weights,
            quantize=quantize,
        )
        freeze(vlm.model, model.freeze)
        if model.keep_features and weights:
            if not {"vision", "merger"} <= set(model.freeze) or not vlm.family.supports_packing:
                raise InputError(
                    "model.keep_features needs a vision tower that stays", remedy="set model.freeze: [vision, merger]"
                )
            cache_features(vlm.model.model.visual)
        return vlm

    def load_trainable(self, path: str | Path | None = None, device: str | None = None) -> Vlm:
        """The policy as a stage trains it: with LoRA layers where the config asks for them, on quantised weights.

        Raises:
            InputError: weights that would be trained are quantised.
        """
        model = self.config.model
        check_quantize(model)
        vlm = self.policy(path, device, quantize=model.quantize)
        if model.lora is not None:
            return add_lora(vlm, model.lora, self.config.run.seed)
        if is_quantized(vlm.model):
            raise InputError(f"{vlm.source}: quantised weights cannot be trained themselves", remedy="set model.lora")
        return vlm

    def count(self, **counts: int) -> None:
        """Write down how many rows there were, by what they were used for."""
        self.summarise(data=self.run.read_json("summary.json").get("data", {}) | counts)

    def summarise(self, **values: Any) -> None:
        """Write values into `summary.json`, beside what every summary says."""
        if not distributed.is_main():
            return
        summary = self.run.read_json("summary.json") | values
        summary |= {
            "seed": self.config.run.seed,
            "task": self.config.task,
            "base": self.config.model.path,
            "listener": self.config.listener.path,
            "peak_rss_mb": max(peak_rss_mb(), summary.get("peak_rss_mb", 0)),
        }
        self.run.write_json("summary.json", summary)


def peak_rss_mb() -> float:
    """The most memory this process ever held, in MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10), 1)
