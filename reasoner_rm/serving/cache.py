"""Cached completions, by what determines them: the same images, prompt, seeds and sampling by the same model."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from pathlib import Path

from reasoner_rm.models.image_processing import image_key
from reasoner_rm.rollout import GenerationRequest, SamplingParams
from reasoner_rm.schema import Completion


class CompletionCache:
    """Keeps the most recently used completions. Safe to share between threads and between judges.

    A key holds the prompt's text as it was rendered, hence the template too, the images' content, seeds, sampling
    and the model; an image given by path counts by its path and when its file was written.

    Args:
        entries: how many requests are kept.
    """

    def __init__(self, entries: int = 10_000):
        self.entries = entries
        self.hits = self.misses = 0
        self._cached: OrderedDict[str, tuple[Completion, ...]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: str) -> tuple[Completion, ...] | None:
        with self._lock:
            found = self._cached.get(key)
            if found is None:
                self.misses += 1
            else:
                self.hits += 1
                self._cached.move_to_end(key)
            return found

    def put(self, key: str, completions: tuple[Completion, ...]) -> None:
        with self._lock:
            self._cached[key] = completions
            self._cached.move_to_end(key)
            while len(self._cached) > self.entries:
                self._cached.popitem(last=False)


def request_key(request: GenerationRequest, sampling: SamplingParams, model: str) -> str:
    """What identifies a request: equal keys, equal completions."""
    digest = hashlib.sha256(repr((model, sampling, request.seeds)).encode())
    for part, is_image in zip(request.prompt.content, request.prompt.is_image, strict=True):
        text = image_key(part) if is_image else str(part)
        digest.update(f"\x1f{is_image}{len(text)}\x1f{text}".encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def model_key(source: str) -> str:
    """What identifies a model: its name, and for a folder its weight files with their sizes and times."""
    folder = Path(source)
    if not folder.is_dir():
        return source
    files = sorted(folder.glob("*.safetensors"))
    return repr((str(folder.resolve()), [(f.name, f.stat().st_size, f.stat().st_mtime_ns) for f in files]))
