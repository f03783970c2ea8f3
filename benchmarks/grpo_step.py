"""One GRPO step, ours and TRL's, on the same model, prompts, images, G, C, dtype, sampling settings and reward.

    python benchmarks/grpo_step.py --json benchmarks/results/grpo_step.json
    python benchmarks/grpo_step.py --grid --json benchmarks/results/grpo_grid.json --plot docs/grpo_grid.png

Both alternate in one process; results are medians. TRL's trainer runs its own code, called phase by phase for timing:
`_generate` is its rollout, `compute_loss` and the backward pass its update. Every completion has exactly C tokens: the
stop tokens are banned in both. β is 0, TRL's default. `limit` is the ratio of floating-point operations of the repeated
form to those of the shared form, the speed-up of the update if only operations took time.
"""

from __future__ import annotations

import argparse
import copy
import ctypes
import dataclasses
import gc
import hashlib
import json
import os
import platform
import statistics
import tempfile
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml

HERE = Path(__file__).parent
PINNED = HERE / "models" / "grpo_step.yaml"
THREE_B = HERE / "models" / "qwen2.5-vl-3b.yaml"
WORDS = "a red square left of two small blue circles on grey paper seen from above in the evening".split()  # noqa: SIM905


@dataclass(frozen=True)
class Shape:
    """The sizes of one step."""

    groups: int
    group_size: int
    prompt_tokens: int
    completion_tokens: int
    side: int


# --- the model --------------------------------------------------------------------------------------------------


def random_model(shape: Path, vocab: int, device: str, dtype: Any = torch.float32) -> Any:
    """A committed shape with random weights; its padded vocabulary has ``vocab`` rows."""
    from reasoner_rm.models.families import FAMILIES
    from reasoner_rm.models.loading import prepare
    from reasoner_rm.models.tiny import TinySize, build, build_processor, train_tokenizer

    settings = yaml.safe_load(shape.read_text())
    size = TinySize(**settings)
    tokenizer = train_tokenizer([" ".join(WORDS)] * 10)
    model = build(size, tokenizer, seed=0)
    model.resize_token_embeddings(vocab)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.02 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())))
    vlm = prepare(model.to(device, dtype), build_processor(size, tokenizer), FAMILIES[size.family], str(shape))
    return endless(vlm)


def real_model(path: str, device: str) -> Any:
    """A checkpoint, in bf16."""
    from reasoner_rm.models.loading import load_vlm

    return endless(load_vlm(path, dtype="bfloat16", device=device))


def endless(vlm: Any) -> Any:
    """Stop tokens banned: every completion runs to its full length."""
    vlm.banned_token_ids = tuple(sorted({*vlm.banned_token_ids, *vlm.stop_token_ids}))
    return vlm


def prompts_of(vlm: Any, shape: Shape) -> list[Any]:
    """Two images and words up to the wanted number of tokens, another picture for every group."""
    import numpy as np
    from PIL import Image

    from reasoner_rm.models.prompt_encoder import PromptEncoder
    from reasoner_rm.tasks.render import Prompt

    encoder, out = PromptEncoder(vlm), []
    for g in range(shape.groups):
        rng = np.random.default_rng(g)
        images = [Image.fromarray(rng.integers(0, 256, (shape.side, shape.side, 3), dtype=np.uint8)) for _ in range(2)]
        text = ["Which"]
        while True:
            prompt = Prompt((*images, " ".join(text)), (True, True, False))
            if len(encoder.encode(prompt).input_ids) >= shape.prompt_tokens:
                break
            text.append(WORDS[len(text) % len(WORDS)])
        out.append(prompt)
    return out


def pay(texts: list[str]) -> list[float]:
    """A reward that takes no time and varies within a group."""
    return [hashlib.sha256(t.encode()).digest()[0] / 255 for t in texts]


# --- the two sides ----------------------------------------------------------------------------------------------


class Clock:
    """Seconds by phase, one entry per repetition."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = defaultdict(list)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        synchronize()
        began = time.perf_counter()
        yield
        synchronize()
        self.seconds[name].append(time.perf_counter() - began)

    def medians(self) -> dict[str, float]:
        return {name: statistics.median(values) for name, values in self.seconds.items()}


def synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


class Side:
    """One trainer, called phase by phase: rollouts and scores, update, optimiser step."""

    optimizer: torch.optim.Optimizer

    def __init__(self, shape: Shape):
        self.shape, self.clock = shape, Clock()

    def prepare(self) -> Any:
        raise NotImplementedError

    def update(self, prepared: Any) -> None:
        raise NotImplementedError

    def step(self) -> None:
        """A complete step, timed by phase."""
        with self.clock.phase("step"):
            with self.clock.phase("prepare"):
                prepared = self.prepare()
            with self.clock.phase("update"):
                self.update(prepared)
            self.optimizer.step()
            self.optimizer.zero_grad()

    def rollout_timed(self, owner: Any, method: str) -> None:
        """Time a method of the trainer as the rollout."""
        generate = getattr(owner, method)

        def timed(*given: Any) -> Any:
            with self.clock.phase("rollout"):
                return generate(*given)

        setattr(owner, method, timed)


class Ours(Side):
    """`GRPOTrainer`, with the transformers engine."""

    def __init__(self, vlm: Any, prompts: list[Any], shape: Shape):
        from reasoner_rm import rewards
        from reasoner_rm.config import GrpoSection
        from reasoner_rm.models.prompt_encoder import PromptEncoder
        from reasoner_rm.rewards.base import Reward
        from reasoner_rm.rollout.transformers_engine import TransformersEngine
        from reasoner_rm.schema import Sample
        from reasoner_rm.tasks.render import load_template
        from reasoner_rm.training import grpo, rollout_collector

        rewards.REWARDS["cheap"] = Reward(
            "cheap", (0, 1), lambda group, parsed, context: list(pay([c.text for c in group.completions]))
        )
        super().__init__(shape)
        self.vlm = vlm
        self.samples = [Sample(str(i), "qa", "", gold={"answer": "", "kind": "text"}) for i in range(len(prompts))]
        by_id = {s.id: p for s, p in zip(self.samples, prompts, strict=True)}
        rollout_collector.render = lambda sample, template: by_id[sample.id]  # the very prompts that TRL gets
        section = GrpoSection(
            rewards="cheap",
            prompts_per_device=shape.groups,
            gradient_accumulation_steps=1,
            num_generations=shape.group_size,
            max_completion_length=shape.completion_tokens,
            beta=0.0,
            max_steps=1,
        )
        encoder = PromptEncoder(vlm)
        self.engine = TransformersEngine(vlm, encoder)
        self.trainer = grpo.GRPOTrainer(
            vlm,
            load_template("qa", "brief"),
            self.samples,
            section,
            engine=self.engine,
            encoder=encoder,
            listener=None,
            log=lambda *_: None,
            seed=0,
        )
        # The same work, and both stay the same model.
        self.optimizer = torch.optim.AdamW(vlm.model.parameters(), lr=0.0)
        self.rollout_timed(rollout_collector.RolloutCollector, "roll_out")

    def prepare(self) -> Any:
        from reasoner_rm.training.micro_batches import make_micro_batches

        trainer = self.trainer
        trainer.collector.sync_engine()
        collected = trainer.collector.collect(self.samples, 0, 0.0)
        trainer.optimization.model.eval()
        with torch.no_grad():
            (micro,) = make_micro_batches([collected], trainer.section, trainer.fixed_logprobs, lockstep=False)
        return micro

    def update(self, micro: Any) -> None:
        self.trainer.optimization.model.train()
        for i, (pack, fixed) in enumerate(micro.packs, start=1):
            with self.trainer.optimization.accumulate(last=i == len(micro.packs)):
                self.trainer.optimization.backward(self.trainer.loss(pack, fixed, micro.normalizer))


class Trl(Side):
    """TRL's `GRPOTrainer`, generating with transformers."""

    def __init__(self, vlm: Any, prompts: list[Any], shape: Shape, folder: str):
        import trl
        from datasets import Dataset

        super().__init__(shape)
        self.model = copy.deepcopy(vlm.model)
        self.model.set_attn_implementation({"text_config": "sdpa", "vision_config": "sdpa"})
        rows = [{"prompt": p.messages(), "images": list(p.images)} for p in prompts]
        config = trl.GRPOConfig(
            output_dir=folder,
            per_device_train_batch_size=shape.groups * shape.group_size,
            num_generations=shape.group_size,
            max_completion_length=shape.completion_tokens,
            generation_kwargs={"suppress_tokens": list(vlm.banned_token_ids)},
            temperature=1.0,
            top_k=0,
            top_p=1.0,
            beta=0.0,
            loss_type="grpo",
            gradient_checkpointing=False,
            use_cpu=self.model.device.type == "cpu",
            bf16=False,
            report_to="none",
            save_strategy="no",
            max_steps=1,
        )
        self.trainer = trl.GRPOTrainer(
            model=self.model,
            reward_funcs=lambda completions, **_: pay([c[0]["content"] for c in completions]),
            args=config,
            train_dataset=Dataset.from_list(rows),
            processing_class=vlm.processor,
        )
        self.trainer.current_gradient_accumulation_steps = 1
        self.rows = [row for row in rows for _ in range(shape.group_size)]
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=0.0
        )  # the same work, and both stay the same model
        self.rollout_timed(self.trainer, "_generate")

    def prepare(self) -> Any:
        self.model.train()
        return self.trainer._generate_and_score_completions(self.rows)

    def update(self, inputs: Any) -> None:
        self.model.train()
        self.trainer.compute_loss(self.model, inputs).backward()


# --- equality, memory, limit --------------------------------------------------------------------------------------


def same_completions(ours: Ours, micro: Any, inputs: Any) -> Any:
    """Our micro-batch with TRL's completions and advantages, so that both update on the same."""
    from reasoner_rm.schema import Completion

    g = ours.shape.group_size
    rows = inputs["completion_ids"].tolist()
    advantages = inputs["advantages"].tolist()
    ((pack, fixed),) = micro.packs
    slices = []
    for i, piece in enumerate(pack.slices):
        texts = tuple(Completion("", tuple(row), (0.0,) * len(row), "stop") for row in rows[i * g : (i + 1) * g])
        group = dataclasses.replace(piece.scored.group, completions=texts)
        share = tuple(advantages[i * g : (i + 1) * g])
        scored = dataclasses.replace(piece.scored, group=group, advantages=share)
        slices.append(dataclasses.replace(piece, scored=scored))
    return dataclasses.replace(micro, packs=((dataclasses.replace(pack, slices=tuple(slices)), fixed),))


def agreement(ours: Ours, trl: Trl, micro: Any, inputs: Any) -> dict[str, float]:
    """The greatest difference of a log-probability, and the relative error of the gradient."""
    from reasoner_rm.models.group_logprobs import group_logprobs

    vlm = ours.vlm
    keys = ("pixel_values", "image_grid_thw", "num_images", "token_type_ids", "mm_token_type_ids")
    with torch.no_grad():
        ids = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], 1)
        mask = torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], 1)
        theirs = trl.trainer._get_per_token_logps_and_entropies(
            trl.model, ids, mask, ours.shape.completion_tokens, **{k: inputs[k] for k in keys if k in inputs}
        )[0]
        part = micro.packs[0][0]
        unbanned = copy.copy(vlm)
        unbanned.banned_token_ids = ()  # TRL normalises over the full vocabulary
        mine = group_logprobs(unbanned, ours.trainer.encoder.batch(part.prompts), part.token_ids).logprobs
    banned, vlm.banned_token_ids = vlm.banned_token_ids, ()
    try:
        ours.optimizer.zero_grad()
        trl.optimizer.zero_grad()
        ours.update(micro)
        trl.update(inputs)
    finally:
        vlm.banned_token_ids = banned
    pairs = [
        (a.grad, b.grad)
        for a, b in zip(vlm.model.parameters(), trl.model.parameters(), strict=True)
        if a.grad is not None and b.grad is not None
    ]
    error = sum(float((a - b).double().norm() ** 2) for a, b in pairs) ** 0.5
    norm = sum(float(b.double().norm() ** 2) for _, b in pairs) ** 0.5
    ours.optimizer.zero_grad()
    trl.optimizer.zero_grad()
    return {"max_logprob_diff": float((mine - theirs).abs().max()), "grad_rel_err": error / norm}


def peak_mb(work: Callable[[], None]) -> float:
    """Peak memory of the call above the level before it, in MB."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        work()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM
    before = _status("VmRSS")
    work()
    return (_status("VmHWM") - before) / 2**10


def _status(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1])


def operations(vlm: Any, shape: Shape) -> dict[str, float]:
    """Multiply-adds times two of a forward pass, for one group: of its images, prompt, completions and LM head."""
    text, vision = vlm.model.config.get_text_config(), vlm.model.config.vision_config
    d, heads = text.hidden_size, text.num_attention_heads
    hd = getattr(text, "head_dim", None) or d // heads
    linear = 2 * (2 * d * heads * hd + 2 * d * text.num_key_value_heads * hd + 3 * d * text.intermediate_size)
    context = 4 * heads * hd

    def tokens(n: int, before: int) -> float:
        return text.num_hidden_layers * (n * linear + context * (n * before + n * (n + 1) / 2))

    patches = (shape.side // vision.patch_size) ** 2
    dv, ff = vision.hidden_size, vision.intermediate_size
    window = (getattr(vision, "window_size", shape.side) // vision.patch_size) ** 2
    full = len(getattr(vision, "fullatt_block_indexes", range(vision.depth)))
    per_image = vision.depth * patches * 2 * (4 * dv * dv + 3 * dv * ff)
    per_image += 4 * dv * patches * (full * patches + (vision.depth - full) * min(window, patches))
    per_image += patches * 2 * 3 * 2 * vision.patch_size**2 * dv + patches / 4 * 2 * (16 * dv * dv + 4 * dv * d)
    g, c = shape.group_size, shape.completion_tokens
    return {
        "vision": 2 * per_image,
        "prompt": tokens(shape.prompt_tokens, 0),
        "completions": g * tokens(c, shape.prompt_tokens),
        "head": g * c * 2 * d * text.vocab_size,
    }


def limit(vlm: Any, shape: Shape) -> float:
    """The ratio of operations of the repeated form to those of the shared form."""
    ops, g = operations(vlm, shape), shape.group_size
    rest = ops["completions"] + ops["head"]
    return (g * (ops["vision"] + ops["prompt"]) + rest) / (ops["vision"] + ops["prompt"] + rest)


# --- measuring --------------------------------------------------------------------------------------------------


def measure(vlm: Any, shape: Shape, repetitions: int, listener: bool = True) -> dict[str, Any]:
    """Complete steps, alternating; then equality and memory of the update."""
    prompts = prompts_of(vlm, shape)
    with tempfile.TemporaryDirectory() as folder:
        trl, ours = Trl(vlm, prompts, shape, folder), Ours(vlm, prompts, shape)
        for side in (ours, trl):
            side.step()
            side.clock.seconds.clear()
        for _ in range(repetitions):
            ours.step()
            trl.step()
        listener_seconds = listener_pass(vlm, ours, repetitions) if listener else None
        inputs, micro = trl.prepare(), ours.prepare()
        micro = same_completions(ours, micro, inputs)
        equal = agreement(ours, trl, micro, inputs)
        mine, theirs = ([peak_mb(lambda s=side, w=work: s.update(w)) for _ in range(3)]
                        for side, work in ((ours, micro), (trl, inputs)))  # fmt: skip
    a, b = ours.clock.medians(), trl.clock.medians()
    result = {
        "update_speedup": b["update"] / a["update"],
        "rollout_speedup": b["rollout"] / a["rollout"],
        "step_speedup": b["step"] / a["step"],
        **equal,
        "peak_memory_ratio": statistics.median(mine) / statistics.median(theirs),
        "limit": limit(vlm, shape),
        "seconds": {"ours": a, "trl": b},
        "peak_mb": {"ours": statistics.median(mine), "trl": statistics.median(theirs)},
        "operations": operations(vlm, shape),
    }
    if listener_seconds is not None:
        result["listener_over_update"] = listener_seconds / a["update"]
    return result


def growth(vlm: Any, shape: Shape, repetitions: int) -> dict[str, float]:
    """Seconds of our complete step with 4 and with 16 completions per group, and their ratio."""
    seconds = {}
    for group_size in (4, 16):
        ours = Ours(vlm, prompts_of(vlm, shape), dataclasses.replace(shape, group_size=group_size))
        for _ in range(repetitions + 1):
            ours.step()
        seconds[f"G={group_size}"] = statistics.median(ours.clock.seconds["step"][1:])
    return seconds | {"ratio": seconds["G=16"] / seconds["G=4"]}


def frozen(vlm: Any, shape: Shape, repetitions: int) -> dict[str, float]:
    """Seconds of our complete step with a frozen vision tower, and with cached features."""
    from reasoner_rm.models.vision_cache import cache_features

    tower, seconds = vlm.model.model.visual, {}
    tower.requires_grad_(False)
    for name in ("computed", "kept"):
        if name == "kept":
            cache_features(tower)
        ours = Ours(vlm, prompts_of(vlm, shape), shape)
        for _ in range(repetitions + 1):
            ours.step()
        seconds[name] = statistics.median(ours.clock.seconds["step"][1:])
    return seconds | {"ratio": seconds["computed"] / seconds["kept"]}


def listener_pass(vlm: Any, ours: Ours, repetitions: int) -> float:
    """Seconds of a listener's forward pass over one step's completions; the listener has the policy's size."""
    from reasoner_rm.models.packing import forward_groups

    ((part, _),) = ours.prepare().packs
    clock = Clock()
    for _ in range(repetitions + 1):
        with clock.phase("listener"), torch.no_grad():
            states = forward_groups(vlm, ours.trainer.encoder.batch(part.prompts), part.token_ids)
            vlm.model.lm_head(states.hidden[states.last]).log_softmax(-1)
    return statistics.median(clock.seconds["listener"][1:])


def update_only(vlm: Any, shape: Shape, repetitions: int) -> dict[str, float]:
    """The update on random completions, without rollouts: for the grid."""
    prompts = prompts_of(vlm, shape)
    with tempfile.TemporaryDirectory() as folder:
        trl, ours = Trl(vlm, prompts, shape, folder), Ours(vlm, prompts, shape)
        random = torch.Generator().manual_seed(0)
        ids = torch.randint(0, 300, (shape.groups * shape.group_size, shape.completion_tokens), generator=random)
        trl.trainer.rollout_func = lambda prompts, trainer: {
            "prompt_ids": trainer._tokenize_prompts(prompts)[0], "completion_ids": ids.tolist(), "logprobs": None,
        }  # fmt: skip
        inputs = trl.prepare()
        from reasoner_rm.schema import Completion

        tuples = [tuple(row) for row in ids.tolist()]
        g = shape.group_size
        groups = [
            tuple(Completion(str(row), row, (0.0,) * len(row), "stop") for row in tuples[i * g : (i + 1) * g])
            for i in range(shape.groups)
        ]
        ours.engine.stream = lambda requests, sampling: iter(enumerate(groups))  # type: ignore[method-assign]
        micro = ours.prepare()
        for turn in range(repetitions + 1):
            for side, work in ((ours, micro), (trl, inputs)):
                with side.clock.phase("update"):
                    side.update(work)
            if trl.clock.seconds["update"][0] > 20:  # warm enough, and long enough to be measured once
                break
            if turn == 0:
                ours.clock.seconds.clear()
                trl.clock.seconds.clear()
    a, b = ours.clock.medians()["update"], trl.clock.medians()["update"]
    return {"ours": a, "trl": b, "update_speedup": b / a, "limit": limit(vlm, shape)}


def grid(args: argparse.Namespace) -> Iterator[dict[str, float]]:
    """Vocabulary × G × C, one line each."""
    for vocab in args.grid_vocab:
        vlm = random_model(PINNED, vocab, args.device)
        for group_size in (4, 8, 16):
            for completion in (64, 256):
                shape = Shape(1, group_size, args.prompt_tokens, completion, 448)
                result = update_only(vlm, shape, args.repetitions)
                row = {"vocab": vocab, "group_size": group_size, "completion_tokens": completion, **result}
                line = "vocab {vocab:7d}  G {group_size:2d}  C {completion_tokens:3d}   ours {ours:7.3f} s"
                line += "   TRL {trl:7.3f} s   {update_speedup:5.2f}x of {limit:5.2f}x"
                print(line.format(**row), flush=True)
                yield row


def plot(rows: list[dict[str, float]], out: Path) -> None:
    """Speed-up against its limit, and the update's cost against G."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    fig, (left, right) = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
    for vocab in sorted({r["vocab"] for r in rows}):
        mine = [r for r in rows if r["vocab"] == vocab]
        left.scatter([r["limit"] for r in mine], [r["update_speedup"] for r in mine], label=f"vocabulary {vocab:,}")
    top = max(max(r["limit"], r["update_speedup"]) for r in rows) * 1.05
    left.plot([1, top], [1, top], color="0.6", lw=1)
    left.annotate(
        "limit", (top, top), ha="right", va="bottom", color="0.4", xytext=(-14, -12), textcoords="offset points"
    )
    left.plot([1, top], [0.8, 0.8 * top], color="0.6", lw=1, ls=":")
    left.set(xlabel="limit by operations", ylabel="update, TRL's time over ours", title="Speed-up against its limit")
    left.legend(frameon=False)
    first = min(r["vocab"] for r in rows)
    for side, style in (("trl", "--"), ("ours", "-")):
        for completion, colour in ((64, "C0"), (256, "C3")):
            mine = [r for r in rows if r["vocab"] == first and r["completion_tokens"] == completion]
            name = "TRL" if side == "trl" else "ours"
            right.plot([r["group_size"] for r in mine], [r[side] for r in mine], style, marker="o", color=colour,
                       label=f"{name}, C = {completion}")  # fmt: skip
    right.set(
        xlabel="completions a group (G)", ylabel="seconds an update", title=f"Cost against G, vocabulary {first:,}"
    )
    right.set_xticks([4, 8, 16])
    right.set_ylim(bottom=0)
    right.legend(frameon=False)
    for axis in (left, right):
        axis.spines[["top", "right"]].set_visible(False)
    fig.savefig(out, dpi=150)


def machine(device: str) -> dict[str, Any]:
    import transformers
    import trl

    return {
        "device": torch.cuda.get_device_name() if device == "cuda" else platform.machine(),
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__.split("+")[0],
        "transformers": transformers.__version__,
        "trl": trl.__version__,
    }


def show(result: dict[str, Any]) -> None:
    """Print the results."""
    a, b = result["seconds"]["ours"], result["seconds"]["trl"]
    print(f"{'':10}{'ours':>10}{'TRL':>10}{'speed-up':>10}")
    for phase in ("rollout", "update", "step"):
        print(f"{phase:10}{a[phase]:9.3f}s{b[phase]:9.3f}s{b[phase] / a[phase]:9.2f}x")
    print(f"limit of the update by operations {result['limit']:.2f}x")
    print(
        f"greatest difference of a log-probability {result['max_logprob_diff']:.1e}, "
        f"gradient {result['grad_rel_err']:.1e}"
    )
    print(f"peak memory of the update {result['peak_mb']['ours']:.0f} MB against {result['peak_mb']['trl']:.0f} MB")
    print("our step from G = 4 to G = 16 grows {ratio:.2f} times".format(**result["step_from_G4_to_G16"]))
    print("features kept by a frozen tower: our step {ratio:.2f} times as fast".format(**result["frozen_tower"]))
    if "listener_over_update" in result:
        print(f"a listener of the same size takes {result['listener_over_update']:.2f} of our update")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompt-tokens", type=int, default=540)
    parser.add_argument("--completion-tokens", type=int, default=64)
    parser.add_argument("--group-size", type=int, default=8)
    parser.add_argument("--groups", type=int, default=1)
    parser.add_argument("--vocab", type=int, default=1024)
    parser.add_argument("--image-side", type=int, default=448)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--model", help="a checkpoint instead of the pinned model, in bf16")
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument("--grid", action="store_true", help="updates over vocabulary, G and C")
    parser.add_argument("--grid-vocab", type=int, nargs="+", default=[1024, 32768, 152064])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path, help="with --grid")
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    about = {"machine": machine(args.device), "arguments": {k: str(v) for k, v in vars(args).items() if k != "json"}}

    def keep(result: dict[str, Any]) -> None:
        if args.json:
            args.json.parent.mkdir(parents=True, exist_ok=True)
            args.json.write_text(json.dumps(result | about, indent=1) + "\n")

    if args.grid:
        rows: list[dict[str, float]] = []
        for row in grid(args):
            rows.append(row)
            keep({"rows": rows, "worst_share_of_limit": min(r["update_speedup"] / r["limit"] for r in rows)})
            if args.plot:
                args.plot.parent.mkdir(parents=True, exist_ok=True)
                plot(rows, args.plot)
    else:
        shape = Shape(args.groups, args.group_size, args.prompt_tokens, args.completion_tokens, args.image_side)
        vlm = real_model(args.model, args.device) if args.model else random_model(PINNED, args.vocab, args.device)
        result = measure(vlm, shape, args.repetitions)
        result["step_from_G4_to_G16"] = growth(vlm, shape, args.repetitions)
        result["frozen_tower"] = frozen(vlm, shape, args.repetitions)
        show(result)
        if args.device == "cuda" and not args.model:
            print("\nthe shape of Qwen2.5-VL-3B, random weights, bf16")
            del vlm
            torch.cuda.empty_cache()
            large = random_model(THREE_B, 151936, args.device, torch.bfloat16)
            at_3b = Shape(1, 8, 800, 256, 512)  # two 512-pixel images are 684 tokens
            result["qwen2.5-vl-3b"] = measure(large, at_3b, args.repetitions)
            update, bound = result["qwen2.5-vl-3b"]["update_speedup"], result["qwen2.5-vl-3b"]["limit"]
            print(f"update {update:.2f}x of {bound:.2f}x")
        keep(result)


if __name__ == "__main__":
    main()
