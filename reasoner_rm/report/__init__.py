"""The report of a run: one self-contained HTML file with data, curves, metrics, evaluated items and rollouts."""

from reasoner_rm.report.page import write_report
from reasoner_rm.report.watching import watch

__all__ = ["watch", "write_report"]
