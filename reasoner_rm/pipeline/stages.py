"""The stages of a run: each loads the previous checkpoint, trains, saves its own, and is evaluated."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from reasoner_rm import distributed
from reasoner_rm.config import TrainSection
from reasoner_rm.data.io import load_samples, write_samples
from reasoner_rm.evaluation import Evaluation, blank_images, evaluate
from reasoner_rm.listener import Listener
from reasoner_rm.log import warn_once
from reasoner_rm.models.box_converter import BoxConverter
from reasoner_rm.models.loading import Vlm
from reasoner_rm.models.prompt_encoder import PromptEncoder
from reasoner_rm.pipeline.context import RunContext
from reasoner_rm.pipeline.eval_fn import make_eval_fn
from reasoner_rm.pipeline.evaluation_store import store_blind, store_evaluation
from reasoner_rm.pipeline.listener_factory import open_listener
from reasoner_rm.pipeline.preflight import training_samples
from reasoner_rm.pipeline.rollout_log import rollout_record
from reasoner_rm.pipeline.stage_run import StageRun
from reasoner_rm.report import write_report
from reasoner_rm.rollout import RolloutEngine
from reasoner_rm.rollout.base import closing
from reasoner_rm.rollout.factory import engine_from_config
from reasoner_rm.sampling.rejection_sampling import split_by_pass_rate
from reasoner_rm.schema import PAIRWISE_TASKS, Sample, ScoredGroup
from reasoner_rm.training.evaluation import check_schedule
from reasoner_rm.training.grpo import GRPOTrainer
from reasoner_rm.training.run_dir import RL_FILE, SFT_FILE, Stage
from reasoner_rm.training.sft import SFTTrainer
from reasoner_rm.utils.memory import release_memory
from reasoner_rm.utils.progress import working


class Pipeline(RunContext):
    """The stages of one run and their evaluation."""

    # --- the stages ---------------------------------------------------------------------------------------------

    def train(self, stage: Stage) -> None:
        """Run a stage by name. Its models are released, before evaluation loads the checkpoint."""
        {"cold_start": self.cold_start, "rejection_sampling": self.rejection_sampling, "grpo": self.grpo}[stage]()
        release_memory()

    def cold_start(self) -> None:
        """SFT on `data.cold_start`."""
        samples = self.samples("cold_start")
        section, vlm = self.config.sft, self.load_trainable(self.config.model.path)
        with self._stage("cold_start", vlm) as stage_run:
            trainer = SFTTrainer(
                vlm, self.template, samples, section, title="cold start", **self._settings(stage_run, section)
            )
            stage_run.session = trainer.session
            trainer.train(resume=stage_run.state)
        self.add_counts(cold_start=len(samples))

    def rejection_sampling(self) -> None:
        """Split `data.train` by the pass rate of sampled completions, and fine-tune on the rows with a high one."""
        section = self.config.rejection_sampling.sft
        with self._stage("rejection_sampling") as stage_run:
            earlier = self._load_split() if self.resume else None
            targets = self._split() if earlier is None else earlier
            vlm = stage_run.vlm = self.load_trainable()
            if targets:
                trainer = SFTTrainer(
                    vlm,
                    self.template,
                    targets,
                    section,
                    title="rejection sampling: sft",
                    **self._settings(stage_run, section),
                )
                stage_run.session = trainer.session
                trainer.train(resume=stage_run.state)
            else:
                print(
                    "rejection sampling: no row reached sft_above, so the model is not fine-tuned",
                    file=sys.stderr,
                )

    def _split(self) -> Sequence[Sample]:
        """Sample, split the rows, write both parts, and return the SFT rows. The engine is closed before training."""
        samples = self.samples("train")
        section, seed = self.config.rejection_sampling, self.config.run.seed
        with self.engine(self.config.engine) as (engine, box_converter):
            split = split_by_pass_rate(engine, self.template, samples, section, seed=seed, box_converter=box_converter)
        if distributed.is_main():
            write_samples(self.run.path / SFT_FILE, split.sft)
            write_samples(self.run.path / RL_FILE, split.rl)  # last: if it exists, so does the other
            print(
                f"rejection sampling: {len(split.sft)} rows to SFT, {len(split.rl)} to RL, {split.ties} ties left out",
                file=sys.stderr,
            )
        self.add_counts(train=len(samples), sft=len(split.sft), rl=len(split.rl), ties=split.ties)
        return split.sft

    def _load_split(self) -> Sequence[Sample] | None:
        if not (self.run.path / RL_FILE).is_file():
            return None
        file = self.run.path / SFT_FILE
        return load_samples(file) if file.stat().st_size else ()

    def grpo(self) -> None:
        """GRPO on rejection sampling's RL rows, or on `data.train` when there was no rejection sampling."""
        section, samples = self.config.grpo, training_samples(self, "grpo")
        vlm = self.load_trainable()
        encoder = PromptEncoder(vlm, workers=self.config.data.workers)
        with (
            closing(engine_from_config(vlm, self.config.engine, encoder, sync_weights=True)) as engine,
            open_listener(self.config, self.template, policy=encoder) as listener,
            self._stage("grpo", vlm) as stage_run,
        ):
            trainer = GRPOTrainer(
                vlm,
                self.template,
                samples,
                section,
                engine=engine,
                encoder=encoder,
                listener=listener,
                max_logprob_gap=self.config.engine.max_logprob_gap,
                on_groups=self._log_rollouts,
                **self._settings(stage_run, section),
            )
            stage_run.session = trainer.session
            trainer.train(resume=stage_run.state)

    # --- evaluation ----------------------------------------------------------------------------------------------

    def evaluate_stage(self, stage: Stage, blind: bool = False, served: bool = False) -> None:
        """Evaluate a stage's checkpoint on the held-out splits and store the results, see `evaluation_store`.

        Args:
            served: with `engine.name: http`, the server has this checkpoint. False: evaluate in this process.
        """
        splits = [s for s in ("heldout", "ood") if getattr(self.config.data, s) is not None]
        if not splits:
            return
        settings = self.config.engine
        if settings.name == "http" and not served:
            warn_once("evaluated in this process: the server does not have the new weights; `eval` evaluates a server")
            settings = settings.model_copy(update={"name": "auto"})
        with (
            open_listener(self.config, self.template) as listener,
            self.engine(settings, self.run.checkpoint(stage)) as (engine, box_converter),
        ):
            self_listener = Listener(engine, self.template)
            for split in splits:
                every = self.samples(split)
                samples = every[: self.config.eval.limit]
                listeners = {"listener": listener, "self_listener": self_listener}
                result = self._evaluate(engine, box_converter, samples, f"{stage} on {split}", **listeners)
                store_evaluation(self, stage, split, result, len(every))
            if blind and self.config.eval.blank_images:
                every = self.samples(splits[0])
                samples = blank_images(every[: self.config.eval.limit])
                result = self._evaluate(engine, box_converter, samples, "blind")
                store_blind(self, stage, splits[0], result, len(every))

    def _evaluate(
        self,
        engine: RolloutEngine,
        box_converter: BoxConverter,
        samples: list[Sample],
        title: str,
        **listeners: Listener | None,
    ) -> Evaluation:
        orders = ", both orders" if self.config.task in PAIRWISE_TASKS else ""
        print(f"evaluating {title}: {len(samples)} samples{orders}", file=sys.stderr)
        length, seed = self.config.eval.max_completion_length, self.config.run.seed
        with working("evaluating"):
            return evaluate(
                engine, self.template, samples, box_converter=box_converter, max_tokens=length, seed=seed, **listeners
            )

    def report(self) -> Path:
        """Write `report.html`."""
        return write_report(self.run.path)

    # --- records ------------------------------------------------------------------------------------------------

    def _stage(self, stage: Stage, vlm: Vlm | None = None) -> StageRun:
        return StageRun(self, stage, vlm)

    def _settings(self, stage_run: StageRun, section: TrainSection) -> dict[str, Any]:
        """The keyword arguments of a stage's trainer: the shared ones, and with `eval_steps` an evaluation function."""
        check_schedule(section, self.config.data.heldout is not None)
        settings = stage_run.settings(section)
        if section.eval_steps is None:
            return settings
        assert stage_run.vlm is not None
        samples, seed = self.samples("heldout"), self.config.run.seed
        return settings | {"eval_fn": make_eval_fn(stage_run.vlm, self.template, samples, self.config.eval, seed)}

    def _log_rollouts(self, step: int, scored: list[ScoredGroup]) -> None:
        for s in scored:
            self.run.rollout({"stage": "grpo", "step": step, **rollout_record(s, self.run.path)})
