"""Strategies by name, with the settings that were published for a space."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sharewise.errors import unknown_name
from sharewise.space import Space
from sharewise.strategy.evolution import RegularizedEvolution
from sharewise.strategy.local_search import LocalSearch
from sharewise.strategy.population import Tournament
from sharewise.strategy.random_search import RandomSearch
from sharewise.strategy.reinforce import Reinforce
from sharewise.strategy.strategy import Strategy
from sharewise.strategy.successive_halving import Hyperband, SuccessiveHalving
from sharewise.strategy.variation import NATS_SIZE, NATS_TOPOLOGY

__all__ = ["STRATEGIES", "build_strategy"]


def _evolution(space: Space) -> Strategy[Any]:
    """NATS-Bench: population 10, sample 3. NAS-Bench-101: 50 and 10. Elsewhere 100 and 25, as first published."""
    match space.name.partition(":")[0]:
        case "nasbench201":
            return RegularizedEvolution(10, Tournament(3, replacement=True), NATS_TOPOLOGY)
        case "nats_size":
            return RegularizedEvolution(10, Tournament(3, replacement=True), NATS_SIZE)
        case "nasbench101":
            from sharewise.strategy.nasbench101 import EdgesAndOperations

            return RegularizedEvolution(50, Tournament(10), EdgesAndOperations())
        case _:
            return RegularizedEvolution()


def _tpe(space: Space) -> Strategy[Any]:
    from sharewise.strategy.with_optuna import tree_parzen_estimator

    return tree_parzen_estimator()


def _nsga2(space: Space) -> Strategy[Any]:
    from sharewise.strategy.with_optuna import nsga2

    return nsga2()


STRATEGIES: Mapping[str, Callable[[Space], Strategy[Any]]] = {
    "random": lambda space: RandomSearch(),
    "random-without-replacement": lambda space: RandomSearch(replacement=False),
    "evolution": _evolution,
    "local": lambda space: LocalSearch(),
    "local-first": lambda space: LocalSearch(first=True),
    "reinforce": lambda space: Reinforce(),
    "successive-halving": lambda space: SuccessiveHalving(),
    "hyperband": lambda space: Hyperband(),
    "tpe": _tpe,
    "nsga2": _nsga2,
}
"""Each takes the space, for which it may have published settings. `tpe` and `nsga2` need Optuna."""


def build_strategy(name: str, space: Space) -> Strategy[Any]:
    """A strategy by its name.

    Args:
        name: a key of `STRATEGIES`.
        space: to be searched.

    Raises:
        ConfigurationError: when there is no such strategy, or it needs a library that is not installed.

    Example:
        >>> from sharewise.spaces import nasbench201
        >>> build_strategy("evolution", nasbench201()).population
        10
    """
    if name not in STRATEGIES:
        raise unknown_name("strategy", name, STRATEGIES)
    return STRATEGIES[name](space)
