"""Evaluation: ballots in both orders, figures with intervals."""

from reasoner_rm.evaluation.canvas import Canvas
from reasoner_rm.evaluation.evaluate import Evaluation, blinded, evaluate
from reasoner_rm.evaluation.metrics import Figures

__all__ = ["Canvas", "Evaluation", "Figures", "blinded", "evaluate"]
