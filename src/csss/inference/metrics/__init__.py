"""Measure a classifier from truth and probabilities, in numpy alone: training and ``csss predict`` share it."""

from csss.inference.metrics.cases import NO_LABEL, Cases, CasesMalformed
from csss.inference.metrics.figures import ClassFigures, Figures, measure
from csss.inference.metrics.findings import FindingCases, average_precision, rate_findings
from csss.inference.metrics.findings_summary import (
    FindingFigures,
    FindingsSummary,
    WholeFigures,
    measure_labels,
    measure_whole,
    summarise_findings,
)
from csss.inference.metrics.intervals import Interval, Intervals, bootstrap
from csss.inference.metrics.scores import ECE_BINS, Bin, auroc, expected_calibration_error, reliability
from csss.inference.metrics.selective import ConformalFigures, measure_sets, risk_coverage
from csss.inference.metrics.summary import SourceFigures, Summary, summarise

__all__ = [
    "ECE_BINS",
    "NO_LABEL",
    "Bin",
    "Cases",
    "CasesMalformed",
    "ClassFigures",
    "ConformalFigures",
    "Figures",
    "FindingCases",
    "FindingFigures",
    "FindingsSummary",
    "Interval",
    "Intervals",
    "SourceFigures",
    "Summary",
    "WholeFigures",
    "auroc",
    "average_precision",
    "bootstrap",
    "expected_calibration_error",
    "measure",
    "measure_labels",
    "measure_sets",
    "measure_whole",
    "rate_findings",
    "reliability",
    "risk_coverage",
    "summarise",
    "summarise_findings",
]
