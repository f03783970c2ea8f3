"""Rollout engines behind one protocol."""

from reasoner_rm.rollout.base import GenerationRequest, RolloutEngine, SamplingParams, in_order

__all__ = ["GenerationRequest", "RolloutEngine", "SamplingParams", "in_order"]
