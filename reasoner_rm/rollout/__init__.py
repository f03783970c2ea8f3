"""Rollout engines behind one protocol."""

from reasoner_rm.rollout.protocol import Request, RolloutEngine, Sampling

__all__ = ["Request", "RolloutEngine", "Sampling"]
