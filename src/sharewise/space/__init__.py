"""Spaces as values: choices, architectures, moves and relaxations, without torch."""

from sharewise.space.architecture import Architecture
from sharewise.space.choice import Choice, Condition, Option
from sharewise.space.moves import crossover, enumerate_architectures, mutate, neighbours, sample
from sharewise.space.relaxation import Decision, DirectRelaxation, Encoding, Probabilities, Relaxation
from sharewise.space.space import Codec, Constraint, Picture, Space

__all__ = [
    "Architecture",
    "Choice",
    "Codec",
    "Condition",
    "Constraint",
    "Decision",
    "DirectRelaxation",
    "Encoding",
    "Option",
    "Picture",
    "Probabilities",
    "Relaxation",
    "Space",
    "crossover",
    "enumerate_architectures",
    "mutate",
    "neighbours",
    "sample",
]
