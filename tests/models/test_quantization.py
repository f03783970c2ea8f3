"""QLoRA: what is quantised, what is trained through it, what is left of it, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from lora_layers import with_trained_lora
from PIL import Image
from solid_color_samples import write_flat_rows
from transformers import AutoConfig

from reasoner_rm.config import LoraSection, ModelSection, Quantization, load_config
from reasoner_rm.errors import InputError
from reasoner_rm.judge import Judge
from reasoner_rm.models.group_logprobs import group_logprobs
from reasoner_rm.models.loading import Vlm, load_vlm
from reasoner_rm.models.lora import merge_lora
from reasoner_rm.models.prompt_encoder import PromptEncoder
from reasoner_rm.models.quantization import check_unsharded, dequantize, quantized_layers
from reasoner_rm.models.weight_export import iter_full_weights
from reasoner_rm.pipeline.dry_run import plan
from reasoner_rm.pipeline.stages import Pipeline
from reasoner_rm.tasks.render import Prompt
from reasoner_rm.training.memory_estimate import counts
from reasoner_rm.training.run_dir import RunDir

pytest.importorskip("bitsandbytes", reason="the extra `qlora` is not installed")

pytestmark = pytest.mark.engine
BABBLE = """
def babble(group, parsed, context):
    return [len(completion.text) % 5 / 4 for completion in group.completions]
"""
KINDS: tuple[Quantization, ...] = ("nf4", "int8")


@pytest.fixture(params=KINDS)
def policy(request: pytest.FixtureRequest, tiny_folder: Path) -> Vlm:
    """On a quantised base."""
    return with_trained_lora(load_vlm(tiny_folder, device="cpu", quantize=request.param), LoraSection(r=4))


def logprobs(vlm: Vlm, pictures: Sequence[Image.Image]) -> torch.Tensor:
    encoder = PromptEncoder(vlm)
    prompt = encoder.encode(Prompt((pictures[0], pictures[1], "which?"), (True, True, False)))
    return group_logprobs(vlm, encoder.batch([prompt]), [[(5, 6, 7), (8, 9)]]).logprobs


def test_the_language_model_is_quantised_and_its_lora_layers_alone_are_trained(
    policy: Vlm, tiny: Vlm, pictures: Sequence[Image.Image]
) -> None:
    packed = {id(layer.weight) for layer in quantized_layers(policy.model)}
    names = {n.replace(".base_layer", "") for n, p in policy.model.named_parameters() if id(p) in packed}
    text = tiny.model.model.language_model
    linear = {f"model.language_model.{n}.weight" for n, m in text.named_modules() if isinstance(m, torch.nn.Linear)}
    assert names == linear
    policy.model.eval()
    with torch.no_grad():
        logprobs(policy, pictures)  # a rollout before the update, as in training
    policy.model.train()
    (logprobs(policy, pictures) ** 2).sum().backward()
    learning = {n for n, p in policy.model.named_parameters() if p.grad is not None and p.grad.abs().max() > 0}
    assert learning and all("lora_" in name for name in learning)
    assert len(learning) == 2 * len(linear), "gradients end on their way down"


def test_what_is_handed_over_and_kept_is_what_was_trained(policy: Vlm, pictures: Sequence[Image.Image]) -> None:
    with torch.no_grad():
        before = logprobs(policy, pictures)
        plain = merge_lora(policy)
        after = logprobs(plain, pictures)
    assert not quantized_layers(plain.model) and not any("lora" in name for name, _ in plain.model.named_parameters())
    assert (after - before).abs().max() < (1e-4 if _is_4bit(policy) else 0.05)  # int8 rounds activations
    assert (after - logprobs(load_vlm(policy.source, device="cpu"), pictures)).abs().max() > 0.1
    for name, weight in iter_full_weights(policy):
        assert weight.dtype == torch.float32
        torch.testing.assert_close(weight, plain.model.get_parameter(name))


@pytest.mark.parametrize("kind", KINDS)
def test_quantised_weights_are_close_and_the_estimate_counts_their_bytes(
    kind: Quantization, tiny_folder: Path, tiny: Vlm
) -> None:
    vlm = load_vlm(tiny_folder, device="cpu", quantize=kind)
    plain = dict(tiny.model.named_parameters())
    held, apart = 0, []
    layers = {id(layer.weight): layer for layer in quantized_layers(vlm.model)}
    for name, weight in vlm.model.named_parameters():
        held += weight.nbytes
        if layer := layers.get(id(weight)):
            state = vars(weight).get("quant_state")
            scales = [weight.SCB] if state is None else [state.absmax, state.state2.absmax]
            held += sum(scale.nbytes for scale in scales)
            apart.append(float((dequantize(layer) - plain[name]).norm() / plain[name].norm()))
    model = ModelSection(dtype="float32", lora=LoraSection(), quantize=kind)
    assert held == pytest.approx(counts(AutoConfig.from_pretrained(tiny_folder), model).stored, rel=0.005)
    assert max(apart) < {"nf4": 0.12, "int8": 0.02}[kind]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_4_bit_layers_compute_in_the_models_precision(dtype: str, tiny_folder: Path) -> None:
    vlm = load_vlm(tiny_folder, dtype=dtype, device="cpu", quantize="nf4")
    assert {layer.compute_dtype for layer in quantized_layers(vlm.model)} == {getattr(torch, dtype)}


@pytest.mark.parametrize("stage", ["cold_start", "grpo"])
def test_a_stage_trains_on_it_and_leaves_a_judge(stage: str, tiny_folder: Path, tmp_path: Path) -> None:
    write_flat_rows(tmp_path, 4)
    config = _configured(tmp_path, tiny_folder, {"lora": {"r": 4}, "quantize": "nf4"})
    run = RunDir.join(config.run.out, stage, config.yaml())  # type: ignore[arg-type]
    Pipeline(config, run).train(stage)  # type: ignore[arg-type]
    rows = [json.loads(line) for line in (config.run.out / "metrics.jsonl").open()]
    assert [row["step"] for row in rows] == [1, 2] and all(row["grad_norm"] > 0 for row in rows)
    assert all(row["sampler_logprob_gap"] < 1e-3 for row in rows if stage == "grpo")
    saved = json.loads((config.run.out / "final" / "config.json").read_text())
    assert "quantization_config" not in saved
    picture = Image.new("RGB", (56, 56), (90, 120, 200))
    verdict = Judge.from_pretrained(config.run.out, engine="transformers").compare("a cube", picture, picture)
    assert len(verdict.votes) == 2  # an answer in each order, whatever an untrained model says


@pytest.mark.parametrize(
    ("model", "run", "why"),
    [
        ({"quantize": "nf4"}, {}, "set model.lora as well"),
        ({"quantize": "nf4", "lora": {}}, {"deepspeed": "zero3.json"}, "use ZeRO-2"),
    ],
)
def test_what_cannot_be_trained_is_refused(
    model: dict[str, Any], run: dict[str, Any], why: str, tiny_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "zero3.json").write_text('{"zero_optimization": {"stage": 3}}')
    write_flat_rows(tmp_path, 4)
    with pytest.raises(InputError, match=why):
        plan(_configured(tmp_path, tiny_folder, model, run), "grpo")
    with pytest.raises(InputError, match="ZeRO-3, FSDP"):
        check_unsharded(True)


def _is_4bit(vlm: Vlm) -> bool:
    return bool(vlm.model.config.quantization_config.load_in_4bit)


def _configured(folder: Path, tiny: Path, model: dict[str, Any], run: dict[str, Any] | None = None) -> Any:
    file = folder / "config.yaml"
    (folder / "own.py").write_text(BABBLE)
    training = {"max_steps": 2, "learning_rate": 1e-3, "gradient_accumulation_steps": 1}
    file.write_text(json.dumps({
        "run": {"out": str(folder / "run")} | (run or {}), "model": {"path": str(tiny)} | model,
        "data": {"cold_start": "rows.jsonl", "train": "rows.jsonl"}, "sft": training | {"batch_size": 2},
        "grpo": training | {"rewards": "own.py:babble", "prompts_per_device": 2, "num_generations": 4,
                            "max_completion_length": 12},
    }))  # fmt: skip
    return load_config(file)
