"""What `test_distributed_training.py` starts, alone or on several processes: a few steps of GRPO or SFT.

    torchrun --nproc_per_node N tests/helpers/distributed_training.py OUT '{"model": …, "kind": "ddp", …}'

The first process writes what was trained, what was logged, what was sampled, and what world it found itself in.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import random
import resource
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from PIL import Image

from reasoner_rm import distributed, rewards
from reasoner_rm.config import EngineSection, EvalSection, GrpoSection, RunSection, SftSection
from reasoner_rm.errors import InputError, RunInterrupted, StorageError
from reasoner_rm.models import token_logprobs
from reasoner_rm.models.loading import Vlm, load_vlm
from reasoner_rm.models.lora import add_lora
from reasoner_rm.models.prompt_encoder import PromptEncoder
from reasoner_rm.models.vision_cache import cache_features
from reasoner_rm.pipeline import eval_fn
from reasoner_rm.rewards.base import Reward
from reasoner_rm.rollout import GenerationRequest, RolloutEngine, SamplingParams
from reasoner_rm.rollout.factory import engine_from_config
from reasoner_rm.rollout.transformers_engine import TransformersEngine
from reasoner_rm.schema import Completion, Group, Sample
from reasoner_rm.tasks.render import load_template
from reasoner_rm.training.checkpoints import Checkpoints
from reasoner_rm.training.grpo import GRPOTrainer
from reasoner_rm.training.sft import SFTTrainer
from reasoner_rm.training.sharding import summon_full_params

TEMPLATE = load_template("image_preference", "brief")


def babble(group: Group, parsed: Any, context: Any) -> list[float | None]:
    """A reward that an untrained model's babble already varies in."""
    return [int(hashlib.sha256(c.text.encode()).hexdigest(), 16) % 7 / 6 for c in group.completions]


def luck(group: Group, parsed: Any, context: Any) -> list[float | None]:
    """Right or wrong; for every other sample wrong throughout."""
    return [float(int(group.sample.id) % 2 and value > 0.5) for value in babble(group, parsed, context)]


rewards.REWARDS["babble"] = Reward("babble", (0.0, 1.0), babble)
rewards.REWARDS["luck"] = Reward("luck", (0.0, 1.0), luck)


class Replay(RolloutEngine):
    """An engine that says what its seeds say, whatever the policy has become."""

    def __init__(self, vlm: Vlm):
        self.vlm = vlm

    def computes_with(self, model: torch.nn.Module) -> bool:
        return False

    def generate(self, requests: Sequence[GenerationRequest], sampling: SamplingParams) -> list[tuple[Completion, ...]]:
        return [tuple(self._say(seed, sampling.max_tokens) for seed in r.seeds) for r in requests]

    def _say(self, seed: int, longest: int) -> Completion:
        rng = random.Random(seed)
        ids = tuple(rng.randrange(20, 200) for _ in range(rng.randint(2, longest)))
        return Completion(self.vlm.tokenizer.decode(ids), ids, (-5.0,) * len(ids), "stop")


def drawings(count: int, target: str | None = None) -> list[Sample]:
    """Comparisons of flat pictures in different shapes, so that prompts differ in length."""
    rng = random.Random(0)

    def picture() -> Image.Image:
        side = rng.choice([(56, 56), (40, 112), (120, 48)])
        return Image.new("RGB", side, tuple(rng.randrange(256) for _ in range(3)))

    return [
        Sample(str(i), "image_preference", f"picture {i}", (picture(), picture()), gold={"p_first": 1.0}, target=target)
        for i in range(count)
    ]


def without_images(samples: list[Sample]) -> list[Sample]:
    """The same, of files that are not there."""
    return [dataclasses.replace(sample, images=("missing.png",) * 2) for sample in samples]


def questions(count: int) -> list[Sample]:
    """Every other one is asked without a picture."""
    pictures = drawings(count)
    return [
        Sample(str(i), "qa", f"question {i}", pictures[i].images[: i % 2], gold={"answer": "4", "kind": "number"})
        for i in range(count)
    ]


def deepspeed_config(stage: int, folder: Path) -> Path:
    """ZeRO as it runs on a CPU: torch's own optimiser."""
    file = folder / f"zero{stage}.json"
    if distributed.is_main():
        file.write_text(
            json.dumps(
                {
                    "zero_optimization": {"stage": stage},
                    "train_micro_batch_size_per_gpu": "auto",
                    "gradient_accumulation_steps": "auto",
                    "gradient_clipping": "auto",
                    "zero_force_ds_cpu_optimizer": False,
                    "zero_allow_untested_optimizer": True,
                }
            )
        )
    distributed.barrier()
    return file


def engine_of(plan: dict[str, Any], vlm: Vlm, encoder: PromptEncoder) -> RolloutEngine:
    """What `engine`, a section, says; or, with `sampled`, transformers."""
    if "engine" in plan:
        return engine_from_config(vlm, EngineSection(**plan["engine"]), encoder, sync_weights=True)
    return TransformersEngine(vlm, encoder) if plan.get("sampled") else Replay(vlm)


def trainer(out: Path, plan: dict[str, Any]) -> tuple[Vlm, GRPOTrainer | SFTTrainer, dict[str, list[Any]]]:
    """The trainer of a plan, and what it will have logged and sampled."""
    token_logprobs.MAX_LOGITS = plan.get("logits", token_logprobs.MAX_LOGITS)
    vlm = load_vlm(plan["model"], device="cpu")
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in vlm.model.parameters():  # as initialised, the model hardly looks at its images
            weight += 0.08 * torch.randn(weight.shape, generator=generator)
    if plan.get("cache_features"):
        cache_features(vlm.model.model.visual.requires_grad_(False))
    if plan.get("lora"):
        from reasoner_rm.config import LoraSection

        vlm = add_lora(vlm, LoraSection(r=4, dropout=0.1))
    kind = plan.get("kind", "ddp")
    run = RunSection(deepspeed=deepspeed_config(int(kind[-1]), out) if kind.startswith("zero") else None)
    seen: dict[str, list[Any]] = {"log": [], "sampled": []}
    common: dict[str, Any] = {
        "log": lambda step, values: seen["log"].append({"step": step, **values}),
        "seed": 0,
        "run": run,
        "checkpoints": Checkpoints(out / "steps", plan.get("every", 2), 2) if plan.get("states") else None,
    }
    if "accuracies" in plan:
        left = iter(plan["accuracies"])
        common["eval_fn"] = lambda: {"accuracy": next(left)}
    if plan.get("stage") == "sft":
        sft = SftSection(batch_size=2, learning_rate=1e-3, **plan["section"])
        samples = drawings(8, "<think>Image 1 shows a square.</think><answer>Image 1 is better</answer>")
        if plan.get("broken") == distributed.rank():
            samples = without_images(samples)
        return vlm, SFTTrainer(vlm, TEMPLATE, samples, sft, **common), seen
    settings: dict[str, Any] = {
        "rewards": "babble", "prompts_per_device": 2, "num_generations": 3, "learning_rate": 1e-3,
        "max_completion_length": 8, "log_rollouts_every": 1,
    }  # fmt: skip
    section = GrpoSection(**settings | plan["section"])
    encoder = PromptEncoder(vlm)
    count = plan.get("samples", 12)
    asked = (load_template("qa", "brief"), questions(count)) if plan.get("mixed") else (TEMPLATE, drawings(count))
    if plan.get("broken") == distributed.rank():
        asked = TEMPLATE, without_images(asked[1])
    return (
        vlm,
        GRPOTrainer(
            vlm, *asked, section, encoder=encoder, listener=None,
            engine=engine_of(plan, vlm, encoder),
            on_groups=lambda step, scored: seen["sampled"].extend(
                [step, s.group.sample.id, [c.token_ids for c in s.group.completions]] for s in scored
            ), **common,
        ),
        seen,
    )  # fmt: skip


def evaluate_samples(out: Path, checkpoint: str) -> None:
    """The metrics of held-out samples, and how many prompts this process has asked."""
    torch.set_num_threads(1)
    distributed.init()
    asked = []

    class Counting(TransformersEngine):
        def generate(
            self, requests: Sequence[GenerationRequest], sampling: SamplingParams
        ) -> list[tuple[Completion, ...]]:
            asked.append(len(requests))
            return super().generate(requests, sampling)

    section = EvalSection(limit=3, max_completion_length=12)
    with mock.patch.object(eval_fn, "TransformersEngine", Counting):
        metrics = eval_fn.make_eval_fn(load_vlm(checkpoint, device="cpu"), TEMPLATE, drawings(5), section, seed=0)()
    (out / f"{distributed.rank()}-of-{distributed.world_size()}.json").write_text(json.dumps([sum(asked), metrics]))
    distributed.shutdown()


def main(out: Path, plan: dict[str, Any]) -> None:
    torch.set_num_threads(1)
    distributed.init()
    (out / f"{distributed.rank()}.pid").write_text(str(os.getpid()))
    vlm, training, seen = trainer(out, plan)
    if "limit" in plan:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (plan["limit"], plan["limit"]))
    try:
        training.train(resume=Checkpoints(out / "steps", 2, 2).latest() if plan.get("resume") else None)
    except RunInterrupted as stopped:
        print(stopped)
        distributed.shutdown()
        return
    except (InputError, StorageError) as error:
        print(f"error: {error}")
        sys.exit(1 if isinstance(error, StorageError) else 2)
    with summon_full_params(training.optimization.model):
        if distributed.is_main():
            found = {
                "world": distributed.world_size(),
                "kind": str(training.optimization.accelerator.distributed_type.value),
                "wrapper": type(training.optimization.model).__name__,
                "weights": {name: p.detach().clone() for name, p in vlm.model.named_parameters()},
                "best": training.session.best.weights(),
                "beside": {name: dict(beside.named_parameters()) for name, beside in training.session.models.items()},
                **seen,
            }
            torch.save(found, out / "beside.pt")
            (out / "beside.pt").rename(out / "found.pt")
    distributed.shutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]), json.loads(sys.argv[2]))
