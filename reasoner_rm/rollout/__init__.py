"""Rollout engines on one abstract base class."""

from reasoner_rm.rollout.base import GenerationRequest, RolloutEngine, SamplingParams, in_order

__all__ = ["GenerationRequest", "RolloutEngine", "SamplingParams", "in_order"]
