"""Rollout engines behind one protocol."""

from reasoner_rm.rollout.protocol import Request, RolloutEngine, Sampling, StreamingEngine, in_order

__all__ = ["Request", "RolloutEngine", "Sampling", "StreamingEngine", "in_order"]
