"""What a state of a training holds beside its optimiser, schedule and random numbers, and how it is put back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import Trainer
from transformers.trainer import TRAINER_STATE_NAME

from reasoner_rm import distributed
from reasoner_rm.errors import InputError
from reasoner_rm.training.batch_sampler import WindowSampler
from reasoner_rm.training.checkpoints import Checkpoints, check_compatible, read_manifest
from reasoner_rm.training.evaluation import BestCheckpoint
from reasoner_rm.training.sharding import gather_trainable
from reasoner_rm.training.timers import StepTimer

WEIGHTS, PROGRESS = "trained.safetensors", "progress.json"


class StatefulTrainer(Trainer):
    """A `transformers.Trainer` whose states are whole or not there, and hold what subclasses remember."""

    checkpoints: Checkpoints | None
    best: BestCheckpoint
    phases: StepTimer
    sampler: WindowSampler

    # --- what a subclass adds ------------------------------------------------------------------------------------

    def progress(self) -> dict[str, Any]:
        """What a subclass has to remember beside weights, optimiser, schedule and random numbers; as JSON knows it.
        Every process is asked, and what the first one says is kept."""
        return {}

    def load_state_dict(self, progress: dict[str, Any]) -> None:
        """Go on from what :meth:`progress` said."""

    def extra_models(self) -> dict[str, torch.nn.Module]:
        """Models beside the policy that change on the way, by the names under which a state keeps their weights."""
        return {}

    # --- writing and reading ---------------------------------------------------------------------------------------

    def _facts(self) -> dict[str, Any]:
        """What a state only fits with."""
        return {
            "processes": distributed.world_size(),
            "sharding": str(self.accelerator.distributed_type.value),
            "prompts_a_step": self.sampler.window,
            "samples": self.sampler.size,
        }

    def restore(self, state: Path) -> None:
        """Everything that the trainer itself does not load.

        Raises:
            InputError: it was written with other settings, or by another version.
        """
        check_compatible(state, **self._facts())
        self.sampler.start = read_manifest(state)["step"] // self.sampler.repeats
        self._recall_all(state)
        for name, beside in self.extra_models().items():
            saved = load_file(state / f"{name}.safetensors")
            with torch.no_grad():
                for key, weight in beside.named_parameters():
                    weight.copy_(saved[key])

    def _recall_all(self, state: Path) -> None:
        try:
            progress = json.loads((state / PROGRESS).read_text(encoding="utf-8"))
            self.best.load_state_dict(progress["best"])
            self.load_state_dict(progress)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"this state is of another version of reasoner-rm: {PROGRESS} lacks {error}",
                file=state,
                remedy="resume with that version, or begin a new run",
            ) from None

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        assert self.checkpoints is not None
        progress = self.progress() | {"best": self.best.state_dict()}
        with self.phases("saving"), self.checkpoints.writing(self.state.global_step, **self._facts()) as folder:
            if distributed.is_main():
                (folder / PROGRESS).write_text(json.dumps(progress), encoding="utf-8")
                self.state.save_to_json(str(folder / TRAINER_STATE_NAME))
                if not self._keeps_weights_itself:
                    save_file(self.trained(), folder / WEIGHTS)
                for name, beside in self.extra_models().items():
                    save_file({n: p.contiguous() for n, p in beside.named_parameters()}, folder / f"{name}.safetensors")
            self._save_optimizer_and_scheduler(str(folder))
            self._save_scaler(str(folder))
            self._save_rng_state(str(folder))

    @property
    def _keeps_weights_itself(self) -> bool:
        return self.is_deepspeed_enabled or self.is_fsdp_enabled

    def trained(self) -> dict[str, torch.Tensor]:
        """See :func:`trained_weights`."""
        return gather_trainable(self.accelerator.unwrap_model(self.model_wrapped))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        if self.is_fsdp_enabled:
            super()._load_from_checkpoint(resume_from_checkpoint, model)
            return
        saved = load_file(Path(resume_from_checkpoint) / WEIGHTS)
        load_trainable(self.model, saved)


def load_trainable(model: torch.nn.Module, saved: dict[str, torch.Tensor]) -> None:
    """Give a model the trained weights of another that was made the same way.

    Raises:
        InputError: that one trained other weights.
    """
    mine = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if saved.keys() != mine.keys():
        raise InputError(
            "the saved state holds other weights than are trained now",
            remedy="resume with the settings that the run began with",
        )
    with torch.no_grad():
        for name, weight in mine.items():
            weight.copy_(saved[name])
