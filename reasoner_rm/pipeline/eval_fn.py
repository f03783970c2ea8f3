"""What a stage's trainer is given to measure itself with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from reasoner_rm.config import EvalSection
from reasoner_rm.evaluation import evaluate
from reasoner_rm.models.box_converter import BoxConverter
from reasoner_rm.models.loading import Vlm
from reasoner_rm.models.prompt_encoder import PromptEncoder
from reasoner_rm.rollout.transformers_engine import TransformersEngine
from reasoner_rm.schema import Sample
from reasoner_rm.tasks.render import Template
from reasoner_rm.training.evaluation import EvalFn

FIGURES = ("accuracy", "consistency", "first_position", "well_formed", "mean_ap", "ap50")


def measure_with(vlm: Vlm, template: Template, samples: Sequence[Sample], section: EvalSection, seed: int) -> EvalFn:
    """A function that measures the policy as it stands, on the model in hand whatever engine rolls out."""
    encoder = PromptEncoder(vlm)
    engine = TransformersEngine(vlm, encoder)
    shown = list(samples[: section.limit])

    def measure() -> Mapping[str, float]:
        found = evaluate(
            engine,
            template,
            shown,
            canvas=BoxConverter.of(encoder),
            max_tokens=section.max_completion_length,
            seed=seed,
        ).figures
        values = {name: getattr(found, name) for name in FIGURES}
        return {name: value for name, value in values.items() if value is not None}

    return measure
