"""The stages of a run: each reads the checkpoint before it, trains, saves, and is measured."""

from __future__ import annotations

import dataclasses
import os
import resource
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from reasoner_rm.config import Config, EngineSection, Quantization, TrainSection
from reasoner_rm.data.io import atomic, load_samples, write_samples
from reasoner_rm.errors import InputError
from reasoner_rm.evaluation import Evaluation, blinded, evaluate
from reasoner_rm.judge.engines import own_listener
from reasoner_rm.listener import Listener
from reasoner_rm.notices import say_once
from reasoner_rm.pipeline.listening import open_listener
from reasoner_rm.pipeline.on_the_way import measure_with
from reasoner_rm.policy.bundle import Card, save_bundle
from reasoner_rm.policy.canvas import Canvas
from reasoner_rm.policy.loading import Vlm, load_vlm
from reasoner_rm.policy.lora import add_lora, merged
from reasoner_rm.policy.model_parts import freeze
from reasoner_rm.policy.prompts import PromptEncoder
from reasoner_rm.policy.quantizing import check_quantize, is_quantized
from reasoner_rm.policy.vision import keep_features
from reasoner_rm.report import write_report
from reasoner_rm.rewards import resolve
from reasoner_rm.rollout import RolloutEngine
from reasoner_rm.rollout.choose import choose, engine_for
from reasoner_rm.rollout.protocol import closing
from reasoner_rm.schema import CANDIDATES, Sample, Scored
from reasoner_rm.tasks import get_task
from reasoner_rm.tasks.render import Template, load_template
from reasoner_rm.tasks.video import frames
from reasoner_rm.training import processes
from reasoner_rm.training.checkpoints import Checkpoints
from reasoner_rm.training.group_model import GroupModel
from reasoner_rm.training.grpo import GroupTrainer
from reasoner_rm.training.measuring import Measure, check_schedule
from reasoner_rm.training.rundir import RunDir, Stage
from reasoner_rm.training.sft import train_sft
from reasoner_rm.training.sharding import is_sharded
from reasoner_rm.training.sift import sift
from reasoner_rm.training.trainer import SampleTrainer, put_weights

SFT_FILE, RL_FILE = "sft.jsonl", "rl.jsonl"


class Pipeline:
    """One run: its configuration, its directory, and what several stages share.

    Args:
        resume: stages go on from where they were stopped or killed.
    """

    def __init__(self, config: Config, run: RunDir, resume: bool = False):
        get_task(config.task)
        self.config = config
        self.run = run
        self.resume = resume
        self.template: Template = load_template(config.task, config.template)

    # --- the stages ---------------------------------------------------------------------------------------------

    def train(self, stage: Stage) -> None:
        """Run a stage by name."""
        {"cold_start": self.cold_start, "sift": self.sift, "grpo": self.grpo}[stage]()

    def cold_start(self) -> None:
        """SFT on `data.cold_start`."""
        samples = self.samples("cold_start")
        vlm = self.trainee(self.config.model.path)
        with self._stage("cold_start", vlm) as record:
            record.trainer = train_sft(
                vlm, self.template, samples, self.config.sft, title="cold start", **record.settings(self.config.sft)
            )
        self._count(cold_start=len(samples))

    def sift(self) -> None:
        """Split `data.train` by what the model already judges right, and fine-tune on that part."""
        section = self.config.sift.sft
        with self._stage("sift") as record:
            known = self._sifted_already() if self.resume else None
            learnt = self._sift() if known is None else known
            vlm = record.vlm = self.trainee()
            if learnt:
                record.trainer = train_sft(
                    vlm, self.template, learnt, section, title="sift: sft", **record.settings(section)
                )
            else:
                print(
                    "sift: nothing was judged right often enough to learn from; the model stays as it is",
                    file=sys.stderr,
                )

    def _sift(self) -> Sequence[Sample]:
        """Split the rows and write both parts down; those to learn from. The engine is gone before anything learns."""
        samples = self.samples("train")
        section, seed = self.config.sift, self.config.run.seed
        with self.engine(self.config.engine) as (engine, canvas):
            found = sift(engine, self.template, samples, section, seed=seed, canvas=canvas)
        if processes.first():
            write_samples(self.run.path / SFT_FILE, found.sft)
            write_samples(self.run.path / RL_FILE, found.rl)  # the second: once it is there, both are
            print(
                f"sift: {len(found.sft)} rows to SFT, {len(found.rl)} to RL, {found.ties} ties left out",
                file=sys.stderr,
            )
        self._count(train=len(samples), sft=len(found.sft), rl=len(found.rl), ties=found.ties)
        return found.sft

    def _sifted_already(self) -> Sequence[Sample] | None:
        if not (self.run.path / RL_FILE).is_file():
            return None
        file = self.run.path / SFT_FILE
        return load_samples(file) if file.stat().st_size else ()

    def grpo(self) -> None:
        """GRPO on the sift's RL rows, or on `data.train` when there was no sift."""
        section = self.config.grpo
        resolve(section.rewards)  # a wrong name shows before a model is loaded
        sifted = self.run.path / RL_FILE
        samples = load_samples(sifted) if sifted.is_file() else self.samples("train")
        vlm = self.trainee()
        encoder = PromptEncoder(vlm, workers=self.config.data.workers)
        with (
            closing(engine_for(vlm, self.config.engine, encoder, following=True)) as engine,
            open_listener(self.config, self.template, lender=vlm) as listener,
            self._stage("grpo", vlm) as record,
        ):
            settings = record.settings(section)
            resume = settings.pop("resume")
            record.trainer = GroupTrainer(
                vlm,
                self.template,
                samples,
                section,
                engine=engine,
                encoder=encoder,
                listener=listener,
                max_logp_gap=self.config.engine.max_logp_gap,
                on_groups=self._keep_rollouts,
                **settings,
            )
            record.trainer.train(resume=resume)

    # --- measuring ----------------------------------------------------------------------------------------------

    def measure(self, stage: Stage, blind: bool = False, served: bool = False) -> None:
        """Evaluate a stage's checkpoint on the held-out splits and write the figures down.

        Args:
            served: the checkpoint is what a server serves, where the config's engine is one. Without, it is measured
                in this process.
        """
        splits = [s for s in ("heldout", "ood") if getattr(self.config.data, s) is not None]
        if not splits:
            return
        settings = self.config.engine
        if settings.name == "http" and not served:
            say_once("measured in this process: a server does not have what was just trained; `eval` measures a server")
            settings = settings.model_copy(update={"name": "auto"})
        summary = self.run.read_json("summary.json")
        figures = summary.setdefault("stages", {}).setdefault(stage, {})
        with (
            open_listener(self.config, self.template) as listener,
            self.engine(settings, self.run.checkpoint(stage)) as subject,
        ):
            own = own_listener(subject[0], self.template, min_mass=0.05)
            for split in splits:
                samples = self.samples(split)[: self.config.eval.limit]
                result = self._evaluate(*subject, samples, f"{stage} on {split}", listener=listener, own_listener=own)
                self._keep_evaluation(f"{stage}-{split}", result)
                figures[split] = result.figures.as_json()
                self._count(**{split: len(samples)})
            if blind and self.config.eval.blind:
                samples = blinded(self.samples(splits[0])[: self.config.eval.limit])
                summary["blind"] = self._evaluate(*subject, samples, "blind").figures.as_json()
        self._summarise(**{k: summary[k] for k in ("stages", "blind") if k in summary})

    def _evaluate(
        self, engine: RolloutEngine, canvas: Canvas, samples: list[Sample], what: str, **listeners: Listener | None
    ) -> Evaluation:
        orders = ", both orders" if self.config.task in CANDIDATES else ""
        print(f"evaluating {what}: {len(samples)} samples{orders}", file=sys.stderr)
        length, seed = self.config.eval.max_completion_length, self.config.run.seed
        return evaluate(engine, self.template, samples, canvas=canvas, max_tokens=length, seed=seed, **listeners)

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

    @contextmanager
    def engine(self, settings: EngineSection, path: str | Path | None = None) -> Iterator[tuple[RolloutEngine, Canvas]]:
        """An engine that answers with the policy as `policy` finds it, and the canvas on which that draws; closed at
        the end. Weights are loaded once, by who answers with them.

        Raises:
            InputError: as `engine_for`.
        """
        here = choose(settings.name).name == "transformers"
        encoder = PromptEncoder(self.policy(path, weights=here))
        with closing(engine_for(encoder.vlm, settings, encoder)) as engine:
            yield engine, Canvas.of(encoder)

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
            if not {"vision", "merger"} <= set(model.freeze) or not vlm.family.packs:
                raise InputError(
                    "model.keep_features needs a vision tower that stays", remedy="set model.freeze: [vision, merger]"
                )
            keep_features(vlm.model.model.visual)
        return vlm

    def trainee(self, path: str | Path | None = None, device: str | None = None) -> Vlm:
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

    # --- records ------------------------------------------------------------------------------------------------

    def _stage(self, stage: Stage, vlm: Vlm | None = None) -> _StageRecord:
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
        if not processes.first():
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


class _StageRecord:
    """Times a stage and, when it ends well, saves its checkpoint and makes it the run's `final/`. ``vlm`` may be loaded
    while it runs."""

    def __init__(self, pipeline: Pipeline, stage: Stage, vlm: Vlm | None):
        self.pipeline, self.stage, self.vlm = pipeline, stage, vlm
        self.trainer: SampleTrainer | None = None
        self.checkpoints: Checkpoints | None = None
        self.began = time.perf_counter()

    def __enter__(self) -> _StageRecord:
        return self

    def settings(self, section: TrainSection) -> dict[str, Any]:
        """What every trainer of the run is told."""
        pipeline, run = self.pipeline, self.pipeline.run
        self.checkpoints = Checkpoints(run.states(self.stage), section.save_steps, section.save_total_limit)
        steps = self.checkpoints.steps() if pipeline.resume else []
        if processes.first():
            run.rewind(self.stage, steps[-1] if steps else 0)
            if pipeline.resume:
                where = f"after step {steps[-1]}" if steps else "at the beginning: no state was kept yet"
                print(f"{self.stage}: resumed {where}", file=sys.stderr)
        return {
            "log": lambda step, values: run.log(self.stage, step, values),
            "seed": pipeline.config.run.seed,
            "checkpoints": self.checkpoints,
            "run": pipeline.config.run,
            "resume": pipeline.resume,
            "measure": self._measure(section),
        }

    def _measure(self, section: TrainSection) -> Measure | None:
        config = self.pipeline.config
        check_schedule(section, config.data.heldout is not None)
        if section.eval_steps is None:
            return None
        assert self.vlm is not None
        samples = self.pipeline.samples("heldout")
        return measure_with(self.vlm, self.pipeline.template, samples, config.eval, config.run.seed)

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        if kind is not None:
            return
        assert self.vlm is not None
        vlm = self.vlm if self.trainer is None else self._whole(self.vlm, self.trainer)
        if processes.first():
            best = None if self.trainer is None else self.trainer.best.weights()
            if best is not None:
                put_weights(GroupModel(vlm), best)
            self._save(merged(vlm))
        processes.barrier()

    def _whole(self, vlm: Vlm, trainer: SampleTrainer) -> Vlm:
        """The trained model with all its weights, which sharding took from the one in hand."""
        if not is_sharded(trainer.model_wrapped):
            return vlm
        trained = trainer.trained()
        if processes.first():
            source = self.pipeline.trainee(vlm.source, device="cpu")
            put_weights(GroupModel(source), trained)
            return source
        return vlm

    def _save(self, vlm: Vlm) -> None:
        pipeline, config = self.pipeline, self.pipeline.config
        size = vlm.processor.image_processor.size
        card = Card(config.task, pipeline.template, size.shortest_edge, size.longest_edge, config.listener.path)
        save_bundle(vlm, card, pipeline.run.path / "final")
        save_bundle(vlm, card, pipeline.run.checkpoint(self.stage))  # the second: it says that the stage is over
        if self.checkpoints is not None:
            self.checkpoints.remove()
        if self.trainer is not None:
            self.trainer.best.remove()
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
