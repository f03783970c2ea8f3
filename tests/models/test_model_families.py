"""Every family of checkpoints: what the engine samples is what the model's own forward says, and what training says."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from reasoner_rm.errors import InputError
from reasoner_rm.models.families import FAMILIES, get_family
from reasoner_rm.models.group_logprobs import group_logprobs
from reasoner_rm.models.loading import Vlm, load_vlm
from reasoner_rm.models.prompt_encoder import EncodedPrompt, PromptEncoder
from reasoner_rm.models.tiny import TinySize, make_tiny
from reasoner_rm.rollout import GenerationRequest, SamplingParams
from reasoner_rm.rollout.transformers_engine import TransformersEngine
from reasoner_rm.tasks.render import Prompt

BOX_SPACES = {
    "qwen2_vl": "normalized_1000", "qwen2_5_vl": "processed", "qwen3_vl": "normalized_1000",
    "qwen3_vl_moe": "normalized_1000", "qwen3_5": "normalized_1000", "qwen3_5_moe": "normalized_1000",
}  # fmt: skip


def own_logprobs(vlm: Vlm, prompt: EncodedPrompt, completion: Sequence[int]) -> torch.Tensor:
    """Log-probabilities [C] of one completion by the model's own forward on the whole row."""
    row = torch.tensor([[*prompt.input_ids, *completion]])
    logits = vlm.model(
        input_ids=row,
        mm_token_type_ids=(row == vlm.model.config.image_token_id).int(),
        pixel_values=torch.cat([image.pixel_values for image in prompt.images]),
        image_grid_thw=torch.cat([image.grid_thw for image in prompt.images]),
    ).logits[0, len(prompt.input_ids) - 1 : -1]
    logits[:, list(vlm.banned_token_ids)] = -torch.inf
    return logits.log_softmax(-1).gather(1, torch.tensor(completion)[:, None])[:, 0]


@pytest.mark.engine
@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_engine_and_training_compute_what_the_model_does(
    family: str, tmp_path: Path, perturbed: Callable[[Vlm], Vlm], pictures: tuple[Image.Image, ...]
) -> None:
    """Prompts of several lengths with two images, three completions each, that end at different tokens."""
    size = TinySize(family=family, image_side=64)  # type: ignore[arg-type]
    vlm = perturbed(load_vlm(make_tiny(tmp_path, ("Which? " * 9, "x y"), size), device="cpu"))
    encoder = PromptEncoder(vlm)
    requests = [
        GenerationRequest(Prompt((one, "Which? ", two, "x" * 5 * i), (True, False, True, False)), (1, 2, 3))
        for i, (one, two) in enumerate(zip(pictures, pictures[1:] + pictures[:1], strict=True))
    ]
    groups = TransformersEngine(vlm, encoder).generate(requests, SamplingParams(1.0, 8))
    prompts = [encoder.encode(request.prompt) for request in requests]
    ids = [[completion.token_ids[: 8 - i] for i, completion in enumerate(group)] for group in groups]
    trained = group_logprobs(vlm, encoder.batch(prompts), ids)
    rows = iter(trained.logprobs)
    for prompt, group, cut in zip(prompts, groups, ids, strict=True):
        for completion, tokens in zip(group, cut, strict=True):
            want = own_logprobs(vlm, prompt, completion.token_ids)
            assert completion.logprobs == pytest.approx(want.tolist(), abs=2e-5)
            torch.testing.assert_close(next(rows)[: len(tokens)], want[: len(tokens)], rtol=0, atol=2e-5)


def test_box_spaces() -> None:
    assert {name: family.box_space for name, family in FAMILIES.items()} == BOX_SPACES


@pytest.mark.parametrize("model_type", ["glm4v", "internvl", "llava", "qwen2"])
def test_an_architecture_without_an_adapter_is_refused(model_type: str) -> None:
    """Also one that is laid out like Qwen-VL: its positions and the coordinates of its boxes are unknown."""
    vision = SimpleNamespace(spatial_merge_size=2)
    config = SimpleNamespace(model_type=model_type, image_token_id=1, vision_config=vision)
    with pytest.raises(
        InputError, match=f"{model_type!r} checkpoint, which is not supported; use one of these .*qwen3_5"
    ):
        get_family(config, "somewhere")


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b"\xff\xff"])
def test_a_damaged_checkpoint_is_one_line(damage: bytes, tiny_folder: Path, tmp_path: Path) -> None:
    """File by file; not even the settings of generation are replaced by defaults, which have another end of turn."""
    folder = shutil.copytree(tiny_folder, tmp_path / "model")
    for file in sorted(folder.iterdir()):
        if file.suffix in (".json", ".safetensors"):
            whole = file.read_bytes()
            file.write_bytes(damage)
            said = r"(cannot load model|broken checkpoint|weights are missing|generation_config\.json).*; [^\n]*$"
            with pytest.raises(InputError, match=said):
                load_vlm(folder, device="cpu")
            file.write_bytes(whole)
