"""Evaluation: ballots in both orders, figures with intervals."""

from reasoner_rm.evaluation.evaluate import Evaluation, blank_images, evaluate
from reasoner_rm.evaluation.run_metrics import RunMetrics

__all__ = ["Evaluation", "RunMetrics", "blank_images", "evaluate"]
