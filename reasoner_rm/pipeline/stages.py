"""The stages of a run: each reads the checkpoint before it, trains, saves, and is measured."""

from __future__ import annotations

import dataclasses
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from reasoner_rm.config import Config
from reasoner_rm.data.endpoint import Endpoint
from reasoner_rm.data.io import atomic, load_samples, write_samples
from reasoner_rm.errors import InputError
from reasoner_rm.evaluation import Evaluation, blinded, evaluate
from reasoner_rm.listener import Listener
from reasoner_rm.listener.remote_listener import RemoteListener
from reasoner_rm.listener.transformers_listener import TransformersListener
from reasoner_rm.policy.bundle import Card, save_bundle
from reasoner_rm.policy.canvas import Canvas
from reasoner_rm.policy.loading import Vlm, load_vlm
from reasoner_rm.policy.lora import add_lora, merged
from reasoner_rm.policy.prompts import PromptEncoder
from reasoner_rm.policy.vision import keep_features
from reasoner_rm.report import write_report
from reasoner_rm.rewards import resolve
from reasoner_rm.rollout.transformers_engine import TransformersEngine
from reasoner_rm.schema import CANDIDATES, Sample, Scored
from reasoner_rm.tasks import get_task
from reasoner_rm.tasks.render import Template, load_template
from reasoner_rm.tasks.video import frames
from reasoner_rm.training.grpo import GroupTrainer
from reasoner_rm.training.rundir import RunDir, Stage
from reasoner_rm.training.sft import train_sft
from reasoner_rm.training.sift import sift

SFT_FILE, RL_FILE = "sft.jsonl", "rl.jsonl"
LENT = "policy"
HEARING = ("temperature", "strip_verdict", "both_orders", "min_mass")
"""What every listener is told of its section."""


class Pipeline:
    """One run: its configuration, its directory, and what several stages share."""

    def __init__(self, config: Config, run: RunDir):
        get_task(config.task)
        self.config = config
        self.run = run
        self.template: Template = load_template(config.task, config.template)

    # --- the stages ---------------------------------------------------------------------------------------------

    def train(self, stage: Stage) -> None:
        """Run a stage by name."""
        {"cold_start": self.cold_start, "sift": self.sift, "grpo": self.grpo}[stage]()

    def cold_start(self) -> None:
        """SFT on `data.cold_start`."""
        samples = self.samples("cold_start")
        vlm = self.trainee(self.config.model.path)
        with self._stage("cold_start", vlm) as log:
            train_sft(
                vlm, self.template, samples, self.config.sft, log=log, seed=self.config.run.seed, title="cold start"
            )
        self._count(cold_start=len(samples))

    def sift(self) -> None:
        """Split `data.train` by what the model already judges right, and fine-tune on that part."""
        samples = self.samples("train")
        vlm = self.trainee()
        section, seed = self.config.sift, self.config.run.seed
        with self._stage("sift", vlm) as log:
            encoder = PromptEncoder(vlm)
            engine, canvas = TransformersEngine(vlm, encoder), Canvas.of(encoder)
            found = sift(engine, self.template, samples, section, seed=seed, canvas=canvas)
            write_samples(self.run.path / SFT_FILE, found.sft)
            write_samples(self.run.path / RL_FILE, found.rl)
            self._count(train=len(samples), sft=len(found.sft), rl=len(found.rl), ties=found.ties)
            print(
                f"sift: {len(found.sft)} rows to SFT, {len(found.rl)} to RL, {found.ties} ties left out",
                file=sys.stderr,
            )
            if found.sft:
                train_sft(vlm, self.template, found.sft, section.sft, log=log, seed=seed, title="sift: sft")
            else:
                print(
                    "sift: nothing was judged right often enough to learn from; the model stays as it is",
                    file=sys.stderr,
                )

    def grpo(self) -> None:
        """GRPO on the sift's RL rows, or on `data.train` when there was no sift."""
        resolve(self.config.grpo.rewards)  # a wrong name shows before a model is loaded
        sifted = self.run.path / RL_FILE
        samples = load_samples(sifted) if sifted.is_file() else self.samples("train")
        vlm = self.trainee()
        encoder = PromptEncoder(vlm, workers=self.config.data.workers)
        with self._stage("grpo", vlm) as log:
            GroupTrainer(
                vlm,
                self.template,
                samples,
                self.config.grpo,
                engine=TransformersEngine(vlm, encoder),
                encoder=encoder,
                listener=self.listener(lender=vlm),
                log=log,
                seed=self.config.run.seed,
                on_groups=self._keep_rollouts,
            ).train()

    # --- measuring ----------------------------------------------------------------------------------------------

    def measure(self, stage: Stage, blind: bool = False) -> None:
        """Evaluate a stage's checkpoint on the held-out splits and write the figures down."""
        splits = [s for s in ("heldout", "ood") if getattr(self.config.data, s) is not None]
        if not splits:
            return
        vlm, listener = self.policy(self.run.checkpoint(stage)), self.listener()
        summary = self.run.read_json("summary.json")
        figures = summary.setdefault("stages", {}).setdefault(stage, {})
        for split in splits:
            samples = self.samples(split)[: self.config.eval.limit]
            own = TransformersListener(vlm, self.template, rows=128)  # as many prompts as the engine reads at once
            result = self._evaluate(vlm, samples, f"{stage} on {split}", listener=listener, own_listener=own)
            self._keep_evaluation(f"{stage}-{split}", result)
            figures[split] = result.figures.as_json()
            self._count(**{split: len(samples)})
        if blind and self.config.eval.blind:
            samples = blinded(self.samples(splits[0])[: self.config.eval.limit])
            summary["blind"] = self._evaluate(vlm, samples, "blind").figures.as_json()
        self._summarise(**{k: summary[k] for k in ("stages", "blind") if k in summary})

    def _evaluate(self, vlm: Vlm, samples: list[Sample], what: str, **listeners: Listener | None) -> Evaluation:
        orders = ", both orders" if self.config.task in CANDIDATES else ""
        print(f"evaluating {what}: {len(samples)} samples{orders}", file=sys.stderr)
        config = self.config
        encoder = PromptEncoder(vlm)
        return evaluate(
            TransformersEngine(vlm, encoder),
            self.template,
            samples,
            canvas=Canvas.of(encoder),
            max_tokens=config.eval.max_completion_length,
            seed=config.run.seed,
            **listeners,
        )

    def report(self) -> Path:
        """Write `report.html`."""
        return write_report(self.run.path)

    # --- models and data ----------------------------------------------------------------------------------------

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

    def policy(self, path: str | Path | None = None) -> Vlm:
        """The policy from a path, or from the last stage that was run."""
        model = self.config.model
        vlm = load_vlm(
            path or self.run.latest() or model.path,
            dtype=model.dtype,
            min_pixels=model.min_pixels,
            max_pixels=model.max_pixels,
            attn_implementation=model.attn_implementation,
        )
        if model.freeze_vision:
            vlm.model.model.visual.requires_grad_(False)
        if model.keep_features:
            if not model.freeze_vision or not vlm.family.packs:
                raise InputError(
                    "model.keep_features needs a vision tower that stays", remedy="set model.freeze_vision"
                )
            keep_features(vlm.model.model.visual)
        return vlm

    def trainee(self, path: str | Path | None = None) -> Vlm:
        """The policy as a stage trains it: with LoRA layers where the config asks for them."""
        vlm = self.policy(path)
        return vlm if self.config.model.lora is None else add_lora(vlm, self.config.model.lora)

    def listener(self, lender: Vlm | None = None) -> Listener | None:
        """The frozen model that reads along, on the policy's own prompt and image bounds.

        Args:
            lender: the policy that is being trained, for ``listener.path: policy``; without one, the run's base.

        Raises:
            InputError: the policy should lend its base, but every weight of it is trained; or a server cannot be used.
        """
        section, model = self.config.listener, self.config.model
        settings = {name: getattr(section, name) for name in HEARING}
        if section.endpoint is not None:
            return RemoteListener(Endpoint(section.endpoint), self.template, max_failed=section.max_failed, **settings)
        if section.path is None:
            return None
        if section.path == LENT and model.lora is None:
            raise InputError("listener.path is `policy`, whose weights are all trained", remedy="set model.lora")
        if section.path == LENT and lender is not None:
            vlm = lender
        else:
            path = model.path if section.path == LENT else section.path
            vlm = load_vlm(path, dtype=section.dtype, min_pixels=model.min_pixels, max_pixels=model.max_pixels)
        return TransformersListener(vlm, self.template, **settings)

    # --- records ------------------------------------------------------------------------------------------------

    def _stage(self, stage: Stage, vlm: Vlm) -> _StageRecord:
        return _StageRecord(self, stage, vlm)

    def _keep_rollouts(self, step: int, scored: list[Scored]) -> None:
        for s in scored:
            self.run.rollout({"stage": "grpo", "step": step, **rollout_record(s, self.run.path)})

    def _keep_evaluation(self, name: str, result: Evaluation) -> None:
        import json

        with atomic(self.run.path / "evaluations" / f"{name}.jsonl") as file:
            for row in result.records(self.run.path):
                file.write(json.dumps(row, ensure_ascii=False) + "\n")

    def _count(self, **counts: int) -> None:
        self._summarise(data=self.run.read_json("summary.json").get("data", {}) | counts)

    def _summarise(self, **values: Any) -> None:
        summary = self.run.read_json("summary.json") | values
        summary |= {
            "seed": self.config.run.seed,
            "task": self.config.task,
            "base": self.config.model.path,
            "listener": self.config.listener.path,
            "peak_rss_mb": max(peak_rss_mb(), summary.get("peak_rss_mb", 0)),
        }
        self.run.write_json("summary.json", summary)


class _StageRecord:
    """Times a stage and, when it ends well, saves its checkpoint and makes it the run's `final/`."""

    def __init__(self, pipeline: Pipeline, stage: Stage, vlm: Vlm):
        self.pipeline, self.stage, self.vlm = pipeline, stage, vlm
        self.began = time.perf_counter()

    def __enter__(self) -> Callable[[int, dict[str, float]], None]:
        return lambda step, values: self.pipeline.run.log(self.stage, step, values)

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        if kind is not None:
            return
        pipeline, config = self.pipeline, self.pipeline.config
        size = self.vlm.processor.image_processor.size
        card = Card(config.task, pipeline.template, size.shortest_edge, size.longest_edge, config.listener.path)
        vlm = merged(self.vlm)
        save_bundle(vlm, card, pipeline.run.checkpoint(self.stage))
        save_bundle(vlm, card, pipeline.run.path / "final")
        seconds = pipeline.run.read_json("summary.json").get("stage_seconds", {})
        seconds |= {self.stage: round(time.perf_counter() - self.began, 1)}
        pipeline._summarise(stage_seconds=seconds, seconds=round(sum(seconds.values()), 1))


def rollout_record(scored: Scored, run: Path) -> dict[str, Any]:
    """A scored group as a plain object, images and the frames of videos as paths relative to the run."""
    sample = scored.group.sample
    beliefs = scored.beliefs or (None,) * len(scored.total)
    return {
        "sample": {
            "id": sample.id,
            "task": sample.task,
            "prompt": sample.prompt,
            "images": [os.path.relpath(i, run) for i in sample.images if isinstance(i, str)],
            "videos": [[os.path.relpath(f, run) for f in frames(v) if isinstance(f, str)] for v in sample.videos],
            "responses": list(sample.responses),
            "gold": dict(sample.gold),
            "meta": dict(sample.meta),
        },
        "completions": [
            {
                "text": completion.text,
                "finish_reason": completion.finish_reason,
                "well_formed": parsed.well_formed,
                "why_not": parsed.why_not,
                "components": {name: values[i] for name, values in scored.components.items()},
                "logged": {name: values[i] for name, values in scored.logged.items()},
                "total": scored.total[i],
                "advantage": scored.advantages[i],
                "belief": None if belief is None else dataclasses.asdict(belief),
            }
            for i, (completion, parsed, belief) in enumerate(
                zip(scored.group.completions, scored.parsed, beliefs, strict=True)
            )
        ],
    }


def peak_rss_mb() -> float:
    """The most memory this process ever held, in MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10), 1)
