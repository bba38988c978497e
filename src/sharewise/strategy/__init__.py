"""Strategies: pure proposals over immutable history, which run on any oracle without torch.

The names are fetched when they are first used: searches import the operators of evolution, not statistics.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sharewise.strategy.array_oracle import ArrayOracle
    from sharewise.strategy.evolution import Generations, RegularizedEvolution
    from sharewise.strategy.history import Budget, History
    from sharewise.strategy.local_search import LocalSearch
    from sharewise.strategy.loop import run_strategy
    from sharewise.strategy.oracle import Evaluation, Oracle
    from sharewise.strategy.population import Best, Fittest, Parents, Survival, Tournament, Youngest
    from sharewise.strategy.random_search import RandomSearch
    from sharewise.strategy.registry import STRATEGIES, build_strategy
    from sharewise.strategy.reinforce import Reinforce
    from sharewise.strategy.repeats import Repeats, repeat
    from sharewise.strategy.representation import Plain, Ranks, Representation, represent
    from sharewise.strategy.strategy import Proposal, Strategy, Trial
    from sharewise.strategy.successive_halving import Hyperband, SuccessiveHalving
    from sharewise.strategy.variation import (
        NATS_SIZE,
        NATS_TOPOLOGY,
        Crossover,
        Mutation,
        OneChoice,
        SeveralChoices,
        Variation,
    )

_HOMES = {
    "array_oracle": ["ArrayOracle"],
    "evolution": ["Generations", "RegularizedEvolution"],
    "history": ["Budget", "History"],
    "local_search": ["LocalSearch"],
    "loop": ["run_strategy"],
    "oracle": ["Evaluation", "Oracle"],
    "population": ["Best", "Fittest", "Parents", "Survival", "Tournament", "Youngest"],
    "random_search": ["RandomSearch"],
    "registry": ["STRATEGIES", "build_strategy"],
    "reinforce": ["Reinforce"],
    "repeats": ["Repeats", "repeat"],
    "representation": ["Plain", "Ranks", "Representation", "represent"],
    "strategy": ["Proposal", "Strategy", "Trial"],
    "successive_halving": ["Hyperband", "SuccessiveHalving"],
    "variation": ["Crossover", "Mutation", "NATS_SIZE", "NATS_TOPOLOGY", "OneChoice", "SeveralChoices", "Variation"],
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "NATS_SIZE",
    "NATS_TOPOLOGY",
    "STRATEGIES",
    "ArrayOracle",
    "Best",
    "Budget",
    "Crossover",
    "Evaluation",
    "Fittest",
    "Generations",
    "History",
    "Hyperband",
    "LocalSearch",
    "Mutation",
    "OneChoice",
    "Oracle",
    "Parents",
    "Plain",
    "Proposal",
    "RandomSearch",
    "Ranks",
    "RegularizedEvolution",
    "Reinforce",
    "Repeats",
    "Representation",
    "SeveralChoices",
    "Strategy",
    "SuccessiveHalving",
    "Survival",
    "Tournament",
    "Trial",
    "Variation",
    "Youngest",
    "build_strategy",
    "repeat",
    "represent",
    "run_strategy",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"sharewise.strategy.{_HOME[name]}"), name)
    raise AttributeError(f"module 'sharewise.strategy' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
