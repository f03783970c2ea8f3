"""What goes through the pipe between those who ask a model and the process that holds it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from reasoner_rm.rollout.protocol import Sampling
from reasoner_rm.schema import Sample
from reasoner_rm.tasks.render import Template

if TYPE_CHECKING:
    from reasoner_rm.policy.loading import Vlm


@dataclass(frozen=True, slots=True)
class Model:
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
        from reasoner_rm.policy.loading import load_vlm

        return load_vlm(
            self.path_or_id,
            dtype=self.dtype,
            min_pixels=self.min_pixels,
            max_pixels=self.max_pixels,
            weights=weights,
        )


@dataclass(frozen=True, slots=True)
class Draw:
    """Asks for completions. ``images`` are the fields of `EncodedImage`s, arrays in them: tensors would travel through
    shared memory, which containers often keep small."""

    ticket: int
    input_ids: tuple[int, ...]
    images: tuple[tuple[Any, ...], ...]
    seeds: tuple[int, ...]
    sampling: Sampling
    watched: bool


@dataclass(frozen=True, slots=True)
class Believe:
    """Asks for the model's own beliefs, as `Listener` does."""

    ticket: int
    template: Template
    samples: tuple[Sample, ...]
    texts: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Grown:
    """How far a completion's text is."""

    ticket: int
    index: int
    text: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What was asked for, or the error. ``beside``: requests under way when it was finished."""

    ticket: int
    result: Any
    beside: int = 1


Asked: TypeAlias = Draw | Believe | None
"""None: that was all."""
Told: TypeAlias = Grown | Answer
