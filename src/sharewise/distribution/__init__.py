"""Distributions over decisions: geometry × estimator, and samplers that do not learn."""

from sharewise.distribution.blueprint import Blueprint, Learned, Nothing, Uniform
from sharewise.distribution.distribution import Distribution
from sharewise.distribution.estimator import Estimator, Expectation, StraightThroughGumbel
from sharewise.distribution.exponentiated_gradient import ExponentiatedGradient, exponentiated_step
from sharewise.distribution.factored import Factored, option_mask
from sharewise.distribution.geometry import Geometry, Simplex, SoftmaxLogits
from sharewise.distribution.phase import Phase, Schedule, Step
from sharewise.distribution.samplers import Undecided, UniformSampler, host_rng

__all__ = [
    "Blueprint",
    "Distribution",
    "Estimator",
    "Expectation",
    "ExponentiatedGradient",
    "Factored",
    "Geometry",
    "Learned",
    "Nothing",
    "Phase",
    "Schedule",
    "Simplex",
    "SoftmaxLogits",
    "Step",
    "StraightThroughGumbel",
    "Undecided",
    "Uniform",
    "UniformSampler",
    "exponentiated_step",
    "host_rng",
    "option_mask",
]
