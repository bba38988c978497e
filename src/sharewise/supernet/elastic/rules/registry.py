"""The table of rules."""

from __future__ import annotations

from collections.abc import Callable

from sharewise.supernet.elastic.call import Call
from sharewise.supernet.elastic.recorder import Outputs, Recorder

__all__ = ["RULES", "Rule", "rule"]

Rule = Callable[[Recorder, Call], Outputs]
"""From what is known so far and an operation to the dimensions of its outputs."""

RULES: dict[str, Rule] = {}
"""By name of the operation."""


def rule(*operations: str) -> Callable[[Rule], Rule]:
    """Register a function as the rule of operations.

    Args:
        operations: names in torch's schema, without overload and the mark of an operation in place.
    """

    def register(function: Rule) -> Rule:
        for operation in operations:
            assert operation not in RULES, operation
            RULES[operation] = function
        return function

    return register
