"""Evaluation: ballots in both orders, figures with intervals."""

from reasoner_rm.evaluation.evaluate import Evaluation, blinded, evaluate
from reasoner_rm.evaluation.metrics import Figures

__all__ = ["Evaluation", "Figures", "blinded", "evaluate"]
