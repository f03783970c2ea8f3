"""Rollout engines behind one protocol."""

from reasoner_rm.rollout.base import GenerationRequest, RolloutEngine, SamplingParams, StreamingEngine, in_order

__all__ = ["GenerationRequest", "RolloutEngine", "SamplingParams", "StreamingEngine", "in_order"]
