"""The data classes of the pipeline: recipe → Sample → prompt → rollout → Group → rewards → loss.

Frozen dataclasses without torch at runtime, I/O or model code.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from reasoner_rm.candidate_labels import swap_labels, swappable

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

MediaRef: TypeAlias = "str | bytes | Image"
"""A path, ``file.parquet#row/column``, ``archive.tar#member``, encoded bytes, or a PIL image."""

VideoRef: TypeAlias = "MediaRef | tuple[MediaRef, ...]"
"""A folder of frames, or the frames themselves, in temporal order."""

BoxSpace: TypeAlias = Literal["processed", "normalized_1000"]
"""The coordinates of a model family's boxes: pixels of the processed image, or 0 to 1000 along either side."""

SpanReward: TypeAlias = tuple[int, int, float]
"""A span of a text, (start, end) in characters, and its reward."""

FinishReason: TypeAlias = Literal["stop", "length"]


@dataclass(frozen=True, slots=True)
class Candidates:
    """The field of a sample that holds the candidates, the noun for one, and how many leading items are shared."""

    noun: str
    media: Literal["images", "videos", "responses"]
    shared: int = 0


PAIRWISE_TASKS: Mapping[str, Candidates] = {
    "image_preference": Candidates("Image", "images"),
    "video_preference": Candidates("Video", "videos"),
    "response_preference": Candidates("Answer", "responses"),
    "edit_preference": Candidates("Image", "images", shared=1),
}


@dataclass(frozen=True, slots=True)
class Sample:
    """One row of data. Candidates are in shown order, and ``gold`` refers to that order.

    ``prompt`` is unrendered: a caption, a question, an instruction. ``target`` is a full assistant turn for SFT.
    ``group_id`` clusters samples of one source prompt, for splits and bootstraps.
    """

    id: str
    task: str
    prompt: str
    images: tuple[MediaRef, ...] = ()
    videos: tuple[VideoRef, ...] = ()
    responses: tuple[str, ...] = ()
    target: str | None = None
    gold: Mapping[str, Any] = field(default_factory=dict)
    weight: float = 1.0
    group_id: str = ""
    source: str = ""
    meta: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.group_id:
            object.__setattr__(self, "group_id", self.id)

    def swapped(self) -> Sample:
        """The same comparison with the two candidates exchanged: media, gold, target, ``meta.order`` and ``meta.truth``
        (which candidate is right, 1 or 2) together. A target that refers to a candidate in another way than by its
        label is left out (:func:`swappable`)."""
        candidates = PAIRWISE_TASKS.get(self.task)
        if candidates is None:
            raise ValueError(f"task {self.task!r} has no candidates to swap")
        items = getattr(self, candidates.media)
        shared, shown = items[: candidates.shared], items[candidates.shared :]
        gold = dict(self.gold)
        if "p_first" in gold:
            gold["p_first"] = 1.0 - gold["p_first"]
        if "ranks" in gold:
            gold["ranks"] = list(reversed(gold["ranks"]))
        meta = {**self.meta, "order": list(reversed(self.meta.get("order", range(len(shown)))))}
        if meta.get("truth") in (1, 2):
            meta["truth"] = 3 - meta["truth"]
        target = None
        if self.target is not None and swappable(self.target, candidates.noun):
            target = swap_labels(self.target, candidates.noun)
        media: dict[str, Any] = {candidates.media: (*shared, *reversed(shown))}
        return dataclasses.replace(self, gold=gold, meta=meta, target=target, **media)


@dataclass(frozen=True, slots=True)
class Completion:
    """One sampled answer. ``token_ids`` [C] end with the stop token when ``finish_reason`` is ``stop``.

    ``logprobs`` [C]: the sampler's log-probability of each token, temperature and banned tokens applied.
    """

    text: str
    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    finish_reason: FinishReason


@dataclass(frozen=True, slots=True)
class Group:
    """One prompt with its G completions: GRPO's unit."""

    sample: Sample
    completions: tuple[Completion, ...]


@dataclass(frozen=True, slots=True)
class ParsedCompletion:
    """A parsed completion. ``answer`` is None without a readable answer in the container; ``parse_error`` says why the
    text is not well formed, empty when it is."""

    thinking: str | None
    answer: str | None
    well_formed: bool
    parse_error: str = ""


@dataclass(frozen=True, slots=True)
class Belief:
    """A listener's belief: ``probs`` over ``options`` sum to 1; ``option_mass``: their probability in the vocabulary.

    ``order_gap``: the difference of the first option's probability between both orders; 0 with one order.
    """

    options: tuple[str, ...]
    probs: tuple[float, ...]
    option_mass: float
    order_gap: float = 0.0


@dataclass(frozen=True, slots=True)
class ScoredGroup:
    """A group with its rewards. Every sequence has G entries; None in a component: it could not be scored.

    ``metrics``: further values that rewards returned; ``token_advantages`` [G][C] replace the advantages where a
    reward scores sentences.
    """

    group: Group
    parsed: tuple[ParsedCompletion, ...]
    components: Mapping[str, tuple[float | None, ...]]
    total: tuple[float, ...]
    advantages: tuple[float, ...]
    beliefs: tuple[Belief | None, ...] | None = None
    metrics: Mapping[str, tuple[float | None, ...]] = field(default_factory=dict)
    token_advantages: tuple[tuple[float, ...], ...] | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """A judge's verdict on one pair: ``preferred`` is 0, 1 or None (a tie, or no readable vote).

    ``p_first``: the probability of the first candidate, by default its share of readable votes; None without any.
    ``consistent``: whether both orders agreed; None with one order. ``votes``: candidate indices in the caller's order.
    ``reasoning``: of the first vote for ``preferred``; ``reasonings``: of every vote, with the caller's labels.
    """

    preferred: int | None
    p_first: float | None
    reasoning: str
    consistent: bool | None
    votes: tuple[int | None, ...]
    parsed: bool
    reasonings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RewardContext:
    """The inputs of a reward besides the group.

    Attributes:
        step, progress: optimiser steps so far; the completed share of the training, 0 to 1.
        best_means: the best running mean so far of each metric that rewards returned, by name.
        beliefs: [G] of the listener.
        image_sizes: (width, height) pairs of each image: original, processed.
        box_space: the coordinates of the policy's boxes.
        scorers: functions that rewards call (a judge, an LLM), by name.
    """

    step: int = 0
    progress: float = 0.0
    best_means: Mapping[str, float] = field(default_factory=dict)
    beliefs: tuple[Belief | None, ...] | None = None
    image_sizes: tuple[tuple[tuple[int, int], tuple[int, int]], ...] = ()
    box_space: BoxSpace = "processed"
    scorers: Mapping[str, Callable[..., Any]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class VisionInputs:
    """The distinct images of one or more prompts, as inputs of a vision tower.

    ``pixel_values`` [patches, patch_dim] of all images in order; ``grid_thw`` [images, 3]; ``order`` [placeholders]:
    the index of the image at each placeholder, None: each image once, in order. ``keys`` identify the images within a
    run.
    """

    pixel_values: Tensor
    grid_thw: Tensor
    order: Tensor | None = None
    keys: tuple[str, ...] = ()
