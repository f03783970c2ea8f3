"""One run of a stage: resume states, duration, and the checkpoint that it writes when it succeeds."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from reasoner_rm import distributed
from reasoner_rm.config import TrainSection
from reasoner_rm.models.judge_checkpoint import JudgeConfig, copy_judge, save_judge
from reasoner_rm.models.loading import Vlm
from reasoner_rm.models.lora import merge_lora
from reasoner_rm.pipeline.context import RunContext
from reasoner_rm.pipeline.evaluation_store import forget_evaluations
from reasoner_rm.training.checkpoints import Checkpoints
from reasoner_rm.training.optimization import copy_trainable
from reasoner_rm.training.policy_module import PolicyModule
from reasoner_rm.training.run_dir import Stage
from reasoner_rm.training.session import TrainingSession
from reasoner_rm.training.sharding import is_sharded
from reasoner_rm.utils.progress import working


class StageRun:
    """A context manager that times a stage and, unless it raises, saves its checkpoint as the stage's and the run's
    `final/`. ``vlm`` may be set inside the context."""

    def __init__(self, context: RunContext, stage: Stage, vlm: Vlm | None):
        self.context, self.stage, self.vlm = context, stage, vlm
        self.session: TrainingSession | None = None
        self.checkpoints: Checkpoints | None = None
        self.state: Path | None = None
        """What the stage is resumed from, once its settings are made."""
        self.start = time.perf_counter()

    def __enter__(self) -> StageRun:
        return self

    def settings(self, section: TrainSection) -> dict[str, Any]:
        """The keyword arguments that all trainers of the run share."""
        context, run = self.context, self.context.run
        self.checkpoints = Checkpoints(run.states(self.stage), section.save_steps, section.save_total_limit)
        self.state = self.checkpoints.latest() if context.resume else None
        if distributed.is_main():
            self._truncate_logs(self.state)
        return {
            "log": lambda step, values: run.log(self.stage, step, values),
            "seed": context.config.run.seed,
            "checkpoints": self.checkpoints,
            "run": context.config.run,
        }

    def _truncate_logs(self, state: Path | None) -> None:
        """Remove what was logged after the state that the stage resumes from; all of it where there is none."""
        step = 0 if state is None else int(state.name)
        self.context.run.truncate(self.stage, step)
        if self.context.resume:
            where = "from the beginning: no state was saved" if state is None else f"after step {step}"
            print(f"{self.stage}: resumed {where}", file=sys.stderr)

    def __exit__(self, error: type[BaseException] | None, *_: Any) -> None:
        if error is not None:
            return
        assert self.vlm is not None
        vlm = self.vlm if self.session is None else self._full_weights(self.vlm, self.session)
        if distributed.is_main():
            best = None if self.session is None else self.session.best.weights()
            if best is not None:
                copy_trainable(PolicyModule(vlm), best)
            self._save(merge_lora(vlm))
        distributed.barrier()

    def _full_weights(self, vlm: Vlm, session: TrainingSession) -> Vlm:
        """The trained model with all weights on the first process, also if they are sharded."""
        if not is_sharded(session.optimization.model):
            return vlm
        trained = session.optimization.trainable()
        if distributed.is_main():
            source = self.context.load_trainable(vlm.source, device="cpu")
            copy_trainable(PolicyModule(source), trained)
            return source
        return vlm

    def _save(self, vlm: Vlm) -> None:
        context, config = self.context, self.context.config
        size = vlm.processor.image_processor.size
        card = JudgeConfig(config.task, context.template, size.shortest_edge, size.longest_edge, config.listener.path)
        final = context.run.path / "final"
        with working(f"saving {final}"):
            save_judge(vlm, card, final)
            copy_judge(final, context.run.checkpoint(self.stage))  # last: it marks the stage as completed
        if self.checkpoints is not None:
            self.checkpoints.remove()
        if self.session is not None:
            self.session.best.remove()
        forget_evaluations(context, self.stage)
        seconds = context.run.summary().get("stage_seconds", {})
        seconds |= {self.stage: round(time.perf_counter() - self.start, 1)}
        context.update_summary(stage_seconds=seconds, seconds=round(sum(seconds.values()), 1))
