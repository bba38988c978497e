"""The rules of operations: which dimensions of its operands and outputs are one.

A rule is a function of a `Recorder` and a `Call` that returns the dimensions of the outputs. An operation that
`elastic` can follow is one rule in one of these files; pointwise operations are known by their tag.
"""

from sharewise.supernet.elastic.rules import norms, products, recurrent, regions, shapes  # register their rules
from sharewise.supernet.elastic.rules.pointwise import pointwise
from sharewise.supernet.elastic.rules.registry import RULES, Rule, rule

__all__ = ["RULES", "Rule", "norms", "pointwise", "products", "recurrent", "regions", "rule", "shapes"]
