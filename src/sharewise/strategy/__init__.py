"""Strategies: pure proposals over immutable history, which run on any oracle without torch."""

from sharewise.strategy.evolution import NATS_SIZE, NATS_TOPOLOGY, Mutation, OneChoice, RegularizedEvolution, Tournament
from sharewise.strategy.history import Budget, History
from sharewise.strategy.local_search import LocalSearch
from sharewise.strategy.loop import run_strategy
from sharewise.strategy.random_search import RandomSearch
from sharewise.strategy.registry import STRATEGIES, build_strategy
from sharewise.strategy.reinforce import Reinforce
from sharewise.strategy.repeats import Repeats, repeat
from sharewise.strategy.representation import Plain, Ranks, Representation, represent
from sharewise.strategy.strategy import Proposal, Strategy, Trial
from sharewise.strategy.successive_halving import Hyperband, SuccessiveHalving

__all__ = [
    "NATS_SIZE",
    "NATS_TOPOLOGY",
    "STRATEGIES",
    "Budget",
    "History",
    "Hyperband",
    "LocalSearch",
    "Mutation",
    "OneChoice",
    "Plain",
    "Proposal",
    "RandomSearch",
    "Ranks",
    "RegularizedEvolution",
    "Reinforce",
    "Repeats",
    "Representation",
    "Strategy",
    "SuccessiveHalving",
    "Tournament",
    "Trial",
    "build_strategy",
    "repeat",
    "represent",
    "run_strategy",
]
