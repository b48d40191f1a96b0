"""Figures: each function takes a table, or the files that a command has written, and returns matplotlib's axes.

New figures are 3.3 inches wide, one column of a paper, and readable without colours.
"""

from fsp.report.alternatives import alternatives
from fsp.report.curves import error_cost, training
from fsp.report.fronts import pareto, pareto_pairs
from fsp.report.gaps import gap_by_evaluations, gap_by_tau
from fsp.report.landscape import landscape
from fsp.report.scatter import latency_predicted, surrogate_truth

__all__ = [
    "alternatives",
    "error_cost",
    "gap_by_evaluations",
    "gap_by_tau",
    "landscape",
    "latency_predicted",
    "pareto",
    "pareto_pairs",
    "surrogate_truth",
    "training",
]
