"""From a rendered prompt to token ids and pixels. Each image is processed once, however often it is used."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from reasoner_rm.data.images import open_image
from reasoner_rm.errors import InputError
from reasoner_rm.policy.loading import Vlm
from reasoner_rm.schema import MediaRef, VisionInputs
from reasoner_rm.tasks.render import Prompt

IMAGE_TOKEN = "<|image_pad|>"


@dataclass(frozen=True, slots=True)
class EncodedPrompt:
    """A user turn up to where the assistant begins. ``input_ids`` [P] hold one placeholder per visual token."""

    input_ids: tuple[int, ...]
    vision: VisionInputs | None
    image_sizes: tuple[tuple[tuple[int, int], tuple[int, int]], ...] = ()


@dataclass(frozen=True, slots=True)
class PromptBatch:
    """N prompts, left-padded: ``input_ids`` and ``mask`` [N, P], M-RoPE ``positions`` [3, N, P], all their images."""

    input_ids: torch.Tensor
    mask: torch.Tensor
    positions: torch.Tensor
    vision: VisionInputs | None


class PromptEncoder:
    """Encodes prompts for one model. Processed images are kept, up to ``cache_bytes``, by path or content."""

    def __init__(self, vlm: Vlm, cache_bytes: int = 512 * 2**20):
        self.vlm = vlm
        self.cache_bytes = cache_bytes
        self._cache: OrderedDict[str, tuple[VisionInputs, tuple[int, int]]] = OrderedDict()
        self._held = 0

    def encode(self, prompt: Prompt) -> EncodedPrompt:
        """Token ids and pixels of one prompt.

        Raises:
            InputError: a missing or broken image.
        """
        text: str = self.vlm.processor.apply_chat_template(
            prompt.messages(), add_generation_prompt=True, tokenize=False
        )
        patch, merge = self._patch, self.vlm.processor.image_processor.merge_size
        images = [self._process(ref) for ref in prompt.images]
        pieces = text.split(IMAGE_TOKEN)
        if len(pieces) != len(images) + 1:
            raise InputError(
                f"the chat template of {self.vlm.source} wrote {len(pieces) - 1} placeholders for {len(images)} images"
            )
        counts = [int(v.grid_thw.prod()) // merge**2 for v, _ in images]
        text = pieces[0] + "".join(IMAGE_TOKEN * n + piece for n, piece in zip(counts, pieces[1:], strict=True))
        ids = self.vlm.tokenizer(text, add_special_tokens=False).input_ids
        sizes = tuple((size, (int(v.grid_thw[0, 2]) * patch, int(v.grid_thw[0, 1]) * patch)) for v, size in images)
        return EncodedPrompt(tuple(ids), join_vision([v for v, _ in images]), sizes)

    def batch(self, prompts: Sequence[EncodedPrompt]) -> PromptBatch:
        """Left-padded tensors on the model's device."""
        device, pad = self.vlm.device, self.vlm.tokenizer.pad_token_id
        width = max(len(p.input_ids) for p in prompts)
        ids = torch.full((len(prompts), width), pad, device=device)
        mask = torch.zeros((len(prompts), width), dtype=torch.long, device=device)
        for row, prompt in enumerate(prompts):
            n = len(prompt.input_ids)
            ids[row, width - n :] = torch.tensor(prompt.input_ids)
            mask[row, width - n :] = 1
        vision = join_vision([p.vision for p in prompts if p.vision is not None])
        if vision is not None:
            vision = VisionInputs(vision.pixel_values.to(device), vision.grid_thw.to(device))
        positions = self.vlm.family.positions(self.vlm.model, ids, mask, vision.grid_thw if vision else None)
        return PromptBatch(ids, mask, positions, vision)

    @property
    def _patch(self) -> int:
        return self.vlm.processor.image_processor.patch_size

    def _process(self, ref: MediaRef) -> tuple[VisionInputs, tuple[int, int]]:
        key = image_key(ref)
        if key in self._cache:
            self._cache.move_to_end(key)
            return self._cache[key]
        image = open_image(ref)
        out = self.vlm.processor.image_processor(images=[image], return_tensors="pt")
        entry = VisionInputs(out["pixel_values"], out["image_grid_thw"]), image.size
        self._cache[key] = entry
        self._held += entry[0].pixel_values.nbytes
        while self._held > self.cache_bytes and len(self._cache) > 1:
            self._held -= self._cache.popitem(last=False)[1][0].pixel_values.nbytes
        return entry


def image_key(ref: MediaRef) -> str:
    """What identifies an image within a run: its path, or its content."""
    if isinstance(ref, str):
        return ref
    if isinstance(ref, bytes):
        return hashlib.sha256(ref).hexdigest()
    return hashlib.sha256(repr((ref.mode, ref.size)).encode() + ref.tobytes()).hexdigest()


def join_vision(parts: Sequence[VisionInputs]) -> VisionInputs | None:
    """The images of several prompts, in order; None for none."""
    if not parts:
        return None
    return VisionInputs(torch.cat([p.pixel_values for p in parts]), torch.cat([p.grid_thw for p in parts]))
