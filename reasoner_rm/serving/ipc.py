"""The messages between a process that asks a model and the process that holds it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from reasoner_rm.rollout.base import OptionQuery, SamplingParams

if TYPE_CHECKING:
    from reasoner_rm.models.loading import Vlm


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """What is loaded, as `load_vlm` takes it; ``rows`` are decoded side by side."""

    path_or_id: str
    dtype: str = "auto"
    min_pixels: int | None = None
    max_pixels: int | None = None
    rows: int = 128

    def load(self, weights: bool = True) -> Vlm:
        """Raises:
        InputError: as `load_vlm`.
        """
        from reasoner_rm.models.loading import load_vlm

        return load_vlm(
            self.path_or_id,
            dtype=self.dtype,
            min_pixels=self.min_pixels,
            max_pixels=self.max_pixels,
            weights=weights,
        )


@dataclass(frozen=True, slots=True)
class GenerateMessage:
    """Asks for completions. ``images`` are the fields of `EncodedImage`s, arrays in them: tensors would travel through
    shared memory, which containers often keep small."""

    request_id: int
    input_ids: tuple[int, ...]
    images: tuple[tuple[Any, ...], ...]
    seeds: tuple[int, ...]
    sampling: SamplingParams
    watched: bool


@dataclass(frozen=True, slots=True)
class OptionMessage:
    """Asks for option log-probabilities."""

    request_id: int
    queries: tuple[OptionQuery, ...]


@dataclass(frozen=True, slots=True)
class CancelMessage:
    """Drops a request; its answer is a `CancelledError`, or its result if that is there already."""

    request_id: int


@dataclass(frozen=True, slots=True)
class ProgressMessage:
    """How far a completion's text is."""

    request_id: int
    index: int
    text: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What was asked for, or the error. ``batch_size``: requests under way when it was finished."""

    request_id: int
    result: Any
    batch_size: int = 1


HostMessage: TypeAlias = GenerateMessage | OptionMessage | CancelMessage | None
"""None: the worker is to end."""
WorkerMessage: TypeAlias = ProgressMessage | Answer
