"""The evaluation of held-out samples that a stage's trainer calls during training, on all processes together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from reasoner_rm import distributed
from reasoner_rm.config import EvalSection
from reasoner_rm.evaluation.benchmarks.samples import BOTH_ORDERS, with_ground_truth
from reasoner_rm.evaluation.evaluate import Evaluation, greedy_votes
from reasoner_rm.evaluation.predictions import AnsweredItem, Prediction
from reasoner_rm.models.box_converter import BoxConverter
from reasoner_rm.models.loading import Vlm
from reasoner_rm.models.prompt_encoder import PromptEncoder
from reasoner_rm.rollout.transformers_engine import TransformersEngine
from reasoner_rm.schema import Sample
from reasoner_rm.tasks.render import Template
from reasoner_rm.training.evaluation import EvalFn

METRICS = ("accuracy", "consistency", "first_position", "well_formed", "mean_ap", "ap50")
"""The metrics `eval/NAME`. Of these, `metric_for_best_model` takes those in which more is better."""


def make_eval_fn(vlm: Vlm, template: Template, samples: Sequence[Sample], section: EvalSection, seed: int) -> EvalFn:
    """A function that evaluates the policy with its current weights, on the trained model itself whatever engine
    generates rollouts. Each process asks for the votes on its share of the samples; all compute the metrics of all."""
    encoder = PromptEncoder(vlm)
    engine = TransformersEngine(vlm, encoder)
    held_out = list(samples[: section.limit])

    def eval_fn() -> Mapping[str, float]:
        rank, world = distributed.rank(), distributed.world_size()
        with distributed.raise_on_all_ranks():
            mine = greedy_votes(
                engine,
                template,
                held_out[rank::world],
                box_converter=BoxConverter.of(encoder),
                max_tokens=section.max_completion_length,
                seed=seed,
            )
        votes: list[tuple[Prediction, ...]] = [()] * len(held_out)
        for other, part in enumerate(distributed.all_gather([item.predictions for item in mine])):
            votes[other::world] = part
        items = [AnsweredItem(with_ground_truth(s), given) for s, given in zip(held_out, votes, strict=True)]
        metrics = Evaluation.of(held_out, items, BOTH_ORDERS.with_options(seed=seed)).metrics
        values = {name: getattr(metrics, name) for name in METRICS}
        return {name: value for name, value in values.items() if value is not None}

    return eval_fn
