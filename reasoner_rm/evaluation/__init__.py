"""Evaluation: votes in both orders, metrics with intervals."""

from reasoner_rm.evaluation.baselines import blank_images
from reasoner_rm.evaluation.evaluate import Evaluation, evaluate
from reasoner_rm.evaluation.run_metrics import RunMetrics

__all__ = ["Evaluation", "RunMetrics", "blank_images", "evaluate"]
