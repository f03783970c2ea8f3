"""Baselines on the same rows and protocol: fixed and random verdicts, and a judge that is shown grey images."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence

from PIL import Image

from reasoner_rm.data.images import open_image
from reasoner_rm.evaluation.predictions import AnsweredItem, Prediction
from reasoner_rm.evaluation.predictors import Predictor
from reasoner_rm.evaluation.protocol import Protocol
from reasoner_rm.sampling.votes import Query
from reasoner_rm.schema import PAIRWISE_TASKS, MediaRef, Sample
from reasoner_rm.tasks.frames import frames
from reasoner_rm.utils.seeding import stable_seed

Pick = Callable[[Sample, Prediction], int]
"""The index of a candidate of the sample as shown."""


def always_first(sample: Sample, vote: Prediction) -> int:
    return 0


def longer_wins(sample: Sample, vote: Prediction) -> int:
    """The answer with more characters; of two that are equally long, the first."""
    first, second = sample.responses
    return int(len(second) > len(first))


def _random(draw: int) -> Pick:
    return lambda sample, vote: stable_seed("baseline", draw, sample.id, vote.order, vote.number) & 1


RANDOM_VOTES = 5_000
"""The approximate number of random votes: many draws for a small benchmark, at least three for a large one."""


def pairwise_baselines(
    items: Sequence[AnsweredItem], protocol: Protocol
) -> Iterator[tuple[str, Iterator[list[AnsweredItem]]]]:
    """The name of each baseline that applies to the items, and the items with its votes: once for a fixed verdict,
    many times for random ones, whose metric is the mean over the draws."""
    if not items or any(item.sample.task not in PAIRWISE_TASKS for item in items):
        return
    picks: dict[str, Iterable[Pick]] = {"always first": (always_first,)}
    if all(item.sample.task == "response_preference" for item in items):
        picks["longer wins"] = (longer_wins,)
    votes = sum(len(protocol.required_votes(item.sample)) for item in items)
    picks["random"] = map(_random, range(max(3, min(200, RANDOM_VOTES // votes))))
    for name, draws in picks.items():
        yield name, ([_picked(item, protocol, pick) for item in items] for pick in draws)


def _picked(item: AnsweredItem, protocol: Protocol, pick: Pick) -> AnsweredItem:
    votes = [Prediction(order, number) for order, number in protocol.required_votes(item.sample)]
    return item.with_predictions([
        dataclasses.replace(vote, choice=pick(item.in_order(vote.order), vote)) for vote in votes
    ])  # fmt: skip


def constant_baseline(
    items: Sequence[AnsweredItem], protocol: Protocol, answer: Callable[[Sample], str]
) -> list[AnsweredItem]:
    """The items with one fixed answer each, for benchmarks that compare nothing."""
    return [
        item.with_predictions([
            Prediction(order, number, answer(item.sample)) for order, number in protocol.required_votes(item.sample)
        ])
        for item in items
    ]  # fmt: skip


class BlindPredictor:
    """A predictor that is shown grey images in place of the sample's own."""

    def __init__(self, predictor: Predictor):
        self.predictor = predictor

    def __call__(self, queries: Sequence[Query]) -> list[list[Prediction]]:
        blank = blank_images([query.sample for query in queries])
        return self.predictor([dataclasses.replace(q, sample=s) for q, s in zip(queries, blank, strict=True)])


def blank_images(samples: Sequence[Sample]) -> list[Sample]:
    """The same samples with every image and frame grey, of its own size."""
    return [
        dataclasses.replace(
            sample,
            images=tuple(_grey(image) for image in sample.images),
            videos=tuple(tuple(_grey(frame) for frame in frames(video)) for video in sample.videos),
        )
        for sample in samples
    ]


def _grey(ref: MediaRef) -> MediaRef:
    return Image.new("RGB", open_image(ref).size, (128, 128, 128))
