"""Appraisal: what the numbers of a search allow one to say."""

from sharewise.appraisal.interval import Comparison, Interval, compare, difference_interval, mean_interval
from sharewise.appraisal.pareto import pareto_front
from sharewise.appraisal.regret import RegretCurve, regret_curve

__all__ = [
    "Comparison",
    "Interval",
    "RegretCurve",
    "compare",
    "difference_interval",
    "mean_interval",
    "pareto_front",
    "regret_curve",
]
