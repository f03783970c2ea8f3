"""What surrounds the steps of a training: metrics, the progress bar, evaluation, checkpoints, and requests to stop.

An algorithm makes its steps with an :class:`Optimization` and reports each of them here.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors.torch import load_file, save_file
from tqdm.auto import tqdm

from reasoner_rm import distributed
from reasoner_rm.config import RunSection, TrainSection
from reasoner_rm.errors import InputError, RunInterrupted, ServiceError
from reasoner_rm.training.checkpoints import Checkpoints, check_compatible, read_manifest
from reasoner_rm.training.evaluation import BestCheckpoint, EvalFn, is_eval_due
from reasoner_rm.training.metric_buffer import MetricBuffer
from reasoner_rm.training.optimization import Optimization, Update
from reasoner_rm.training.sharding import summon_full_params
from reasoner_rm.training.signals import StopRequest
from reasoner_rm.training.timers import StepTimer
from reasoner_rm.training.trackers import Trackers
from reasoner_rm.utils.progress import redrawn

PROGRESS = "progress.json"
SHOWN = ("loss", "reward", "reward/accuracy", "reward/listener_belief")
"""Metrics on the progress bar."""

Log = Callable[[int, dict[str, float]], None]
"""Called with (step, metrics) after each step, in the first process."""


class Stateful(Protocol):
    """A component of a training that has to be restored when it is resumed; its state is JSON."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: dict[str, Any]) -> None: ...


class TrainingSession:
    """One training, from its first step or from a saved state to its last step.

    Decisions that concern all processes (to save, to stop) are taken at the end of a batch: there is no rollout to
    save, and every process takes them after the same step.

    Args:
        steps: optimiser steps in all.
        updates: steps on each batch (μ).
        title: of the progress bar and the trackers.
        metadata: values of the run that a state has to be resumed with.
        checkpoints: where they are written; None writes none.
        eval_fn: computes metrics of held-out samples every ``section.eval_steps`` steps; every process holds all
            weights meanwhile.
        components: the parts of a state beside the policy, by name.
        models: modules beside the policy whose weights change, by name.
        alarms: called with (step, metrics) in every process; returns the reasons to stop that it finds.
    """

    def __init__(
        self,
        optimization: Optimization,
        section: TrainSection,
        run: RunSection,
        *,
        steps: int,
        updates: int = 1,
        title: str,
        log: Log,
        metadata: Mapping[str, Any],
        checkpoints: Checkpoints | None = None,
        eval_fn: EvalFn | None = None,
        components: Mapping[str, Stateful] | None = None,
        models: Mapping[str, torch.nn.Module] | None = None,
        alarms: Callable[[int, Mapping[str, float]], list[str]] = lambda step, metrics: [],
    ):
        self.optimization, self.section, self.steps, self.updates, self.title = (
            optimization,
            section,
            steps,
            updates,
            title,
        )
        self.step = 0
        """Steps made so far."""
        self.timer, self.metrics, self.stop = StepTimer(self._show_phase), MetricBuffer(), StopRequest()
        file = None if checkpoints is None else checkpoints.folder.with_suffix(".best.safetensors")
        self.best = BestCheckpoint(section.metric_for_best_model, section.early_stopping_patience, file)
        self.models = dict(models or {})
        self._components: dict[str, Stateful] = {"best": self.best, **(components or {})}
        self._checkpoints, self._eval_fn, self._log, self._alarms = checkpoints, eval_fn, log, alarms
        self._metadata = {
            "processes": distributed.world_size(),
            "sharding": str(optimization.accelerator.distributed_type.value),
            **metadata,
        }
        folder = run.out / "trackers" / title.replace(" ", "_").replace(":", "")
        self._trackers = Trackers(run.report_to, folder, optimization.args)
        self._saved_step = 0
        self._out_of_patience = False
        self._bar: tqdm | None = None

    # --- the whole training -----------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def running(self, resume: Path | None) -> Iterator[None]:
        """Inside, the steps are made.

        Args:
            resume: the state to continue from, an undamaged one (:meth:`Checkpoints.latest`); None begins anew.

        Raises:
            RunInterrupted: a signal or an alarm asked to stop; the state is saved.
            ServiceError: a server that the training needs is gone. One process alone saves a state first.
            InputError: the state was saved with other settings.
        """
        if resume is not None:
            self._load(resume)
        self._saved_step = self.step
        try:
            with self._progress_bar(), self._trackers.open(self.optimization.vlm.model), self.stop.handlers():
                self.timer.reset()
                yield
        except ServiceError as error:
            raise ServiceError(f"{error}. {self._save_what_was_done()}") from error
        finally:
            self.optimization.close()
        if self.stop.reason and self.step < self.steps:
            kept = "its state is saved" if self._checkpoints else "nothing is saved"
            raise RunInterrupted(f"stopped by {self.stop.reason} after step {self.step}; {kept}")

    @property
    def finished(self) -> bool:
        """Whether no further step is to be made."""
        return self.step >= self.steps or self._out_of_patience or bool(self.stop.agreed)

    @property
    def batch_number(self) -> int:
        """The batch that the next step trains on."""
        return self.step // self.updates

    @property
    def updates_left(self) -> range:
        """The updates of a batch that begins now; the last batch may have fewer."""
        return range(min(self.updates, self.steps - self.step))

    # --- a step -----------------------------------------------------------------------------------------------------

    def end_step(self, loss: torch.Tensor, update: Update) -> None:
        """Evaluate if that is due, and log the step. Collective: call it on every process.

        Args:
            loss: the step's, a mean over this process's part.
        """
        self.step += 1
        self.metrics.add(loss=float(loss))
        self._update_bar()
        self._evaluate_if_due()
        pooled = self.metrics.pooled()
        values = {
            "loss": pooled.pop("loss"),
            "grad_norm": update.grad_norm,
            "learning_rate": update.learning_rate,
            **pooled,
            **self.timer.reset(),
        }
        if distributed.is_main():
            self._log(self.step, {name: round(float(value), 6) for name, value in values.items()})
        if reasons := self._alarms(self.step, values):
            self.stop.request(f"the alarm {' and '.join(reasons)}")
        self._trackers.log(self.step, values)

    def end_batch(self) -> None:
        """Stop or save a state, if any process has a reason to. Collective: call it on every process."""
        if self.step % self.updates:
            return
        stopping = self.stop.agree()
        due = self._checkpoints is not None and self.step - self._saved_step >= self._checkpoints.every
        if self._checkpoints is not None and self.step < self.steps and (stopping or due):
            self._save()

    def _evaluate_if_due(self) -> None:
        every = self.section.eval_steps
        if self._eval_fn is None or every is None:
            return
        if not is_eval_due(self.step, every, self.updates) and self.step < self.steps:
            return
        with self.timer("evaluation"), summon_full_params(self.optimization.model):
            metrics = self._eval_fn()
        self.metrics.add(**{f"eval/{name}": value for name, value in metrics.items()})
        self._out_of_patience = self.best.update(metrics, self.optimization.trainable)

    # --- the progress bar -------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _progress_bar(self) -> Iterator[None]:
        with tqdm(
            total=self.steps,
            initial=self.step,
            desc=self.title,
            unit="step",
            dynamic_ncols=True,
            disable=not distributed.is_main(),
        ) as self._bar:
            with redrawn(self._bar):
                yield
            self._bar.set_description(self.title)

    def _show_phase(self, name: str) -> None:
        """The bar names what a step is at; it shows it when it is next drawn."""
        if self._bar is not None:
            self._bar.set_description(f"{self.title}, {name.replace('_', ' ')}", refresh=False)

    def _update_bar(self) -> None:
        assert self._bar is not None
        shown = {k.split("/")[-1]: f"{v[-1][0]:.3f}" for k, v in self.metrics.items() if k in SHOWN and v}
        self._bar.set_postfix(shown, refresh=False)
        self._bar.update(1)

    # --- checkpoints ------------------------------------------------------------------------------------------------

    def _save(self) -> None:
        assert self._checkpoints is not None
        states = {name: distributed.all_gather(part.state_dict()) for name, part in self._components.items()}
        with self.timer("saving"), self._checkpoints.writing(self.step, **self._metadata) as folder:
            if distributed.is_main():
                (folder / PROGRESS).write_text(json.dumps(states), encoding="utf-8")
                for name, model in self.models.items():
                    save_file({n: p.contiguous() for n, p in model.named_parameters()}, folder / f"{name}.safetensors")
                self.best.save(folder)
            self.optimization.save(folder)
        self._saved_step = self.step

    def _load(self, folder: Path) -> None:
        check_compatible(folder, **self._metadata)
        self.step = read_manifest(folder)["step"]
        try:
            states = json.loads((folder / PROGRESS).read_text(encoding="utf-8"))
            for name, part in self._components.items():
                part.load_state_dict(states[name][distributed.rank()])
        except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
            raise InputError(
                f"this state is of another version of reasoner-rm: it lacks {error}",
                file=folder,
                remedy="resume with that version, or begin a new run",
            ) from None
        if distributed.is_main():
            self.best.load(folder)
        for name, model in self.models.items():
            saved = load_file(folder / f"{name}.safetensors")
            with torch.no_grad():
                for key, weight in model.named_parameters():
                    weight.copy_(saved[key])
        self.optimization.load(folder)

    def _save_what_was_done(self) -> str:
        """After a failure between two batches, write a checkpoint, and say where training can go on. With several
        processes that is impossible: the others wait elsewhere."""
        kept = self._checkpoints.steps() if self._checkpoints else []
        between = self.step % self.updates == 0 and self.step > max(kept, default=0)
        if self._checkpoints and distributed.world_size() == 1 and between:
            self._save()
            kept.append(self.step)
        return f"The state after step {kept[-1]} is saved: go on from it with --resume" if kept else "Nothing is saved"
