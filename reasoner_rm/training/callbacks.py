"""What happens after each step beside the training: states are kept, a wish to stop is heard, progress is shown."""

from __future__ import annotations

import contextlib
from typing import Any

from tqdm.auto import tqdm
from transformers import TrainerCallback

from reasoner_rm import distributed
from reasoner_rm.training.checkpoints import Checkpoints
from reasoner_rm.training.signals import StopRequest
from reasoner_rm.training.timers import StepTimer


class Keeper(TrainerCallback):
    """Decides after each window, for all processes together, whether to stop and whether to keep the state.

    Between windows only: there, no rollout has to be kept with it. After the step was logged, because its metrics may
    be a reason to stop.
    """

    def __init__(self, wish: StopRequest, checkpoints: Checkpoints | None, repeats: int):
        self.wish, self.checkpoints, self.repeats = wish, checkpoints, repeats
        self.kept = 0

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.kept = state.global_step

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        step = state.global_step
        if step % self.repeats:
            return
        reasons = [reason for reason in distributed.all_gather(self.wish.reason) if reason]
        if reasons:  # of one is of all: each has to know that the stage did not end by itself
            self.wish.reason = self.wish.reason or reasons[0]
            control.should_training_stop = True
        if self.checkpoints is None or step >= state.max_steps:
            return
        if reasons or step - self.kept >= self.checkpoints.every:
            control.should_save = True
            self.kept = step


class OptimiserTime(TrainerCallback):
    """Counts the optimiser's own step as a phase."""

    def __init__(self, phases: StepTimer):
        self.phases = phases
        self.under_way = contextlib.ExitStack()

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.under_way.enter_context(self.phases("optimiser"))

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.under_way.close()


class Bar(TrainerCallback):
    """A progress bar with the few numbers that tell whether it works."""

    SHOWN = ("loss", "reward", "reward/accuracy", "reward/listener_belief")

    def __init__(self, title: str, gathered: dict[str, list[float]]):
        self.title, self.gathered = title, gathered
        self.bar: tqdm | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.bar = tqdm(
            total=state.max_steps,
            initial=state.global_step,
            desc=self.title,
            unit="step",
            dynamic_ncols=True,
            disable=not distributed.is_main(),
        )

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        assert self.bar is not None
        shown = {k.split("/")[-1]: f"{v[-1]:.3f}" for k, v in self.gathered.items() if k in self.SHOWN and v}
        self.bar.set_postfix(shown, refresh=False)
        self.bar.update(1)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()
