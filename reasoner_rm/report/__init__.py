"""The report of a run: one self-contained HTML file that says what was trained on what, and whether it worked."""

from reasoner_rm.report.page import write_report
from reasoner_rm.report.watching import watch

__all__ = ["watch", "write_report"]
