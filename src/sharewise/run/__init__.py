"""Runs: searches and trainings kept in a folder that survives being killed."""

from sharewise.run.environment import environment, versions
from sharewise.run.folder import RunFolder
from sharewise.run.listeners import record_to, tensorboard
from sharewise.run.search import TrainingResult, build_network, build_supernet, evaluate_test, search, train

__all__ = [
    "RunFolder",
    "TrainingResult",
    "build_network",
    "build_supernet",
    "environment",
    "evaluate_test",
    "record_to",
    "search",
    "tensorboard",
    "train",
    "versions",
]
