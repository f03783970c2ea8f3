"""The judge API."""

from reasoner_rm.judge.judge import Judge

__all__ = ["Judge"]
