"""Tables and the HTML report, made from result files alone: nothing here loads a model."""

from hnlmrec.reporting.inputs import Experiment, ReportInputs
from hnlmrec.reporting.report import write_report

__all__ = ["Experiment", "ReportInputs", "write_report"]
