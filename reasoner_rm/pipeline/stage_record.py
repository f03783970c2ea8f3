"""A stage under way: its states, its time, and what it leaves when it ends well."""

from __future__ import annotations

import sys
import time
from typing import Any

from reasoner_rm import processes
from reasoner_rm.config import TrainSection
from reasoner_rm.pipeline.workshop import Workshop
from reasoner_rm.policy.bundle import Card, save_bundle
from reasoner_rm.policy.loading import Vlm
from reasoner_rm.policy.lora import merged
from reasoner_rm.training.checkpoints import Checkpoints
from reasoner_rm.training.group_model import GroupModel
from reasoner_rm.training.rundir import Stage
from reasoner_rm.training.sharding import is_sharded
from reasoner_rm.training.states import put_weights
from reasoner_rm.training.trainer import SampleTrainer


class StageRecord:
    """Times a stage and, when it ends well, saves its checkpoint and makes it the run's `final/`. ``vlm`` may be loaded
    while it runs."""

    def __init__(self, workshop: Workshop, stage: Stage, vlm: Vlm | None):
        self.workshop, self.stage, self.vlm = workshop, stage, vlm
        self.trainer: SampleTrainer | None = None
        self.checkpoints: Checkpoints | None = None
        self.began = time.perf_counter()

    def __enter__(self) -> StageRecord:
        return self

    def settings(self, section: TrainSection) -> dict[str, Any]:
        """What every trainer of the run is told."""
        workshop, run = self.workshop, self.workshop.run
        self.checkpoints = Checkpoints(run.states(self.stage), section.save_steps, section.save_total_limit)
        steps = self.checkpoints.steps() if workshop.resume else []
        if processes.first():
            run.rewind(self.stage, steps[-1] if steps else 0)
            if workshop.resume:
                where = f"after step {steps[-1]}" if steps else "at the beginning: no state was kept yet"
                print(f"{self.stage}: resumed {where}", file=sys.stderr)
        return {
            "log": lambda step, values: run.log(self.stage, step, values),
            "seed": workshop.config.run.seed,
            "checkpoints": self.checkpoints,
            "run": workshop.config.run,
            "resume": workshop.resume,
        }

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
            source = self.workshop.trainee(vlm.source, device="cpu")
            put_weights(GroupModel(source), trained)
            return source
        return vlm

    def _save(self, vlm: Vlm) -> None:
        workshop, config = self.workshop, self.workshop.config
        size = vlm.processor.image_processor.size
        card = Card(config.task, workshop.template, size.shortest_edge, size.longest_edge, config.listener.path)
        save_bundle(vlm, card, workshop.run.path / "final")
        save_bundle(vlm, card, workshop.run.checkpoint(self.stage))  # the second: it says that the stage is over
        if self.checkpoints is not None:
            self.checkpoints.remove()
        if self.trainer is not None:
            self.trainer.best.remove()
        seconds = workshop.run.read_json("summary.json").get("stage_seconds", {})
        seconds |= {self.stage: round(time.perf_counter() - self.began, 1)}
        workshop.summarise(stage_seconds=seconds, seconds=round(sum(seconds.values()), 1))
