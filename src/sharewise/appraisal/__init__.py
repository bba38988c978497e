"""Appraisal: what the numbers of a search allow one to say."""

from sharewise.appraisal.interval import Comparison, Interval, compare, difference_interval, mean_interval

__all__ = ["Comparison", "Interval", "compare", "difference_interval", "mean_interval"]
