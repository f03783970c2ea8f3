"""Encoding of rendered prompts to token ids and pixels, with a cache of processed images."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from weakref import WeakValueDictionary

import torch

from reasoner_rm.errors import InputError
from reasoner_rm.models.chat_template import chat_text
from reasoner_rm.models.families import IMAGE_TOKEN
from reasoner_rm.models.image_processing import EncodedImage, ImagePrefetcher, image_key, process_image
from reasoner_rm.models.loading import Vlm
from reasoner_rm.schema import MediaRef, VisionInputs
from reasoner_rm.tasks.render import Prompt


@dataclass(frozen=True, slots=True)
class EncodedPrompt:
    """A user turn and the assistant header. ``input_ids`` [P] hold one placeholder per visual token."""

    input_ids: tuple[int, ...]
    images: tuple[EncodedImage, ...]


@dataclass(frozen=True, slots=True)
class PromptBatch:
    """N prompts, left-padded: ``input_ids`` and ``mask`` [N, P], M-RoPE ``positions`` [3, N, P], all their images.

    ``lengths`` [N] without padding; ``images_per_prompt`` [N].
    """

    input_ids: torch.Tensor
    mask: torch.Tensor
    positions: torch.Tensor
    vision: VisionInputs | None
    lengths: tuple[int, ...]
    images_per_prompt: tuple[int, ...]


class PromptEncoder:
    """Encodes prompts for one model. Processed images are cached by path or content, up to ``cache_bytes``; beyond
    these, as long as a prompt that holds them lives. A rollout batch keeps its prompts, so that each of its images is
    processed once for rollout, listener and update, however large they are together.

    Args:
        workers: processes for :meth:`prefetch`; 0: no prefetching.
    """

    def __init__(self, vlm: Vlm, cache_bytes: int = 512 * 2**20, workers: int = 0):
        self.vlm = vlm
        self.cache_bytes = cache_bytes
        self._cache: OrderedDict[str, EncodedImage] = OrderedDict()
        self._living: WeakValueDictionary[str, EncodedImage] = WeakValueDictionary()
        self._cached_bytes = 0
        self._lock = threading.Lock()
        self._prefetcher = ImagePrefetcher(vlm.processor.image_processor, workers) if workers else None

    def prefetch(self, refs: Iterable[MediaRef]) -> None:
        """Process images ahead of time. The error of a broken image is raised when it is encoded."""
        if self._prefetcher is not None:
            for ref in refs:
                key = image_key(ref)
                if key not in self._living:
                    self._prefetcher.start(key, ref)

    def encode(self, prompt: Prompt) -> EncodedPrompt:
        """Token ids and pixels of one prompt.

        Raises:
            InputError: a missing or broken image, or more tokens than the model's context; prompts are never truncated.
        """
        text = chat_text(self.vlm.processor, prompt.messages())
        merge = self.vlm.processor.image_processor.merge_size
        images = tuple(self.process(ref) for ref in prompt.images)
        pieces = text.split(IMAGE_TOKEN)
        if len(pieces) != len(images) + 1:
            raise InputError(
                f"the chat template of {self.vlm.source} wrote {len(pieces) - 1} placeholders for {len(images)} images"
            )
        counts = [int(image.grid_thw.prod()) // merge**2 for image in images]
        text = pieces[0] + "".join(IMAGE_TOKEN * n + piece for n, piece in zip(counts, pieces[1:], strict=True))
        ids = self.vlm.tokenizer(text, add_special_tokens=False).input_ids
        limit = self.vlm.model.config.get_text_config().max_position_embeddings
        if len(ids) > limit:
            what = f"a prompt of {len(ids)} tokens, {sum(counts)} of them for images; {self.vlm.source} takes {limit}"
            raise InputError(what, remedy="shorten its text or lower max_pixels")
        return EncodedPrompt(tuple(ids), images)

    def sizes(self, ref: MediaRef) -> tuple[tuple[int, int], tuple[int, int]]:
        """An image's (width, height) in pixels, original and processed.

        Raises:
            InputError: a missing or broken image.
        """
        image = self.process(ref)
        return image.original, image.processed

    def batch(self, prompts: Sequence[EncodedPrompt], width: int | None = None) -> PromptBatch:
        """Left-padded tensors on the model's device, ``width`` wide; None: as the longest prompt."""
        device, pad = self.vlm.device, self.vlm.tokenizer.pad_token_id
        width = width or max(len(p.input_ids) for p in prompts)
        ids = torch.full((len(prompts), width), pad, device=device)
        mask = torch.zeros((len(prompts), width), dtype=torch.long, device=device)
        for row, prompt in enumerate(prompts):
            n = len(prompt.input_ids)
            ids[row, width - n :] = torch.tensor(prompt.input_ids)
            mask[row, width - n :] = 1
        images = [image for p in prompts for image in p.images]
        grids = torch.cat([image.grid_thw for image in images]).to(device) if images else None
        return PromptBatch(
            ids,
            mask,
            self.vlm.family.positions(self.vlm.model, ids, mask, grids),
            batch_images(images, device, share=self.vlm.family.supports_packing),
            tuple(len(p.input_ids) for p in prompts),
            tuple(len(p.images) for p in prompts),
        )

    def process(self, ref: MediaRef) -> EncodedImage:
        """An image processed for the vision tower; thread-safe.

        Raises:
            InputError: a missing or broken image.
        """
        key = image_key(ref)
        with self._lock:
            known = self._living.get(key)
            if known is not None:
                return self._keep(known)
            ready = None if self._prefetcher is None else self._prefetcher.result(key)
        entry = ready or process_image(key, ref, self.vlm.processor.image_processor)
        with self._lock:
            return self._keep(self._living.setdefault(key, entry))

    def _keep(self, image: EncodedImage) -> EncodedImage:
        """An image as the last used one of the cache."""
        if image.key not in self._cache:
            self._cache[image.key] = image
            self._cached_bytes += image.pixel_values.nbytes
        self._cache.move_to_end(image.key)
        while self._cached_bytes > self.cache_bytes and len(self._cache) > 1:
            self._cached_bytes -= self._cache.popitem(last=False)[1].pixel_values.nbytes
        return image


def batch_images(images: Sequence[EncodedImage], device: torch.device, share: bool = True) -> VisionInputs | None:
    """The images of several prompts as one input, each distinct one once if ``share``; None without images."""
    if not images:
        return None
    if not share:
        pixels, grids = zip(*((image.pixel_values, image.grid_thw) for image in images), strict=True)
        return VisionInputs(torch.cat(pixels).to(device), torch.cat(grids).to(device))
    distinct = {image.key: image for image in images}
    place = {key: i for i, key in enumerate(distinct)}
    order = None
    if len(distinct) < len(images):
        order = torch.tensor([place[image.key] for image in images], device=device)
    return VisionInputs(
        torch.cat([image.pixel_values for image in distinct.values()]).to(device),
        torch.cat([image.grid_thw for image in distinct.values()]).to(device),
        order,
        tuple(distinct),
    )
