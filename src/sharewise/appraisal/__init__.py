"""Appraisal: what the numbers of a search allow one to say."""

from sharewise.appraisal.agreement import RankAgreement, TopAgreement, rank_agreement
from sharewise.appraisal.bias import BiasReport, FeatureBias, find_biases
from sharewise.appraisal.groups import GroupComparison, Test, benjamini_hochberg, compare_groups, holm
from sharewise.appraisal.guided import GuidedSearch, guided_search, random_searches, worth_in_trainings
from sharewise.appraisal.interval import Comparison, Estimate, Interval, compare, difference_interval, mean_interval
from sharewise.appraisal.pareto import pareto_front
from sharewise.appraisal.plain import to_plain
from sharewise.appraisal.rank_order import Order, RankOrder, rank_order
from sharewise.appraisal.regret import RegretCurve, regret_curve
from sharewise.appraisal.seeds import OverSeeds, over_seeds
from sharewise.appraisal.truth_error import reliability
from sharewise.appraisal.verdict import Answer, Association, Verdict, rank_association, sharing_verdict, with_order

__all__ = [
    "Answer",
    "Association",
    "BiasReport",
    "Comparison",
    "Estimate",
    "FeatureBias",
    "GroupComparison",
    "GuidedSearch",
    "Interval",
    "Order",
    "OverSeeds",
    "RankAgreement",
    "RankOrder",
    "RegretCurve",
    "Test",
    "TopAgreement",
    "Verdict",
    "benjamini_hochberg",
    "compare",
    "compare_groups",
    "difference_interval",
    "find_biases",
    "guided_search",
    "holm",
    "mean_interval",
    "over_seeds",
    "pareto_front",
    "random_searches",
    "rank_agreement",
    "rank_association",
    "rank_order",
    "regret_curve",
    "reliability",
    "sharing_verdict",
    "to_plain",
    "with_order",
    "worth_in_trainings",
]
