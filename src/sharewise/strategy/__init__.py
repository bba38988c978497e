"""Strategies: pure proposals over immutable history, which run on any oracle without torch.

The names are fetched when they are first used: searches import the operators of evolution, not statistics.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sharewise.lazy import lazily

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

__getattr__, __dir__ = lazily(__name__, __file__)
