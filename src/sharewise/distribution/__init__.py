"""Distributions over decisions: geometry × estimator, a controller, and samplers that do not learn."""

from sharewise.distribution.blueprint import (
    Autoregressive,
    Blueprint,
    Fair,
    Joined,
    Learned,
    Nothing,
    Proportional,
    Size,
    Uniform,
    unsized,
)
from sharewise.distribution.controller import Controller
from sharewise.distribution.distribution import Distribution, entropy_of
from sharewise.distribution.estimator import (
    Concrete,
    DirichletPath,
    Drawn,
    Estimator,
    Expectation,
    Gradient,
    ScoreFunction,
    StraightThroughGumbel,
    Traits,
    TwoPath,
)
from sharewise.distribution.exponentiated_gradient import ExponentiatedGradient, exponentiated_step
from sharewise.distribution.factored import Factored, option_mask
from sharewise.distribution.geometry import Concentrations, Geometry, SigmoidLogits, Simplex, SoftmaxLogits
from sharewise.distribution.mass_preserving_adam import MassPreservingAdam
from sharewise.distribution.offered import Offered, OfferedSampler
from sharewise.distribution.phase import Phase, Step
from sharewise.distribution.piece import Piece
from sharewise.distribution.restriction import Restricted
from sharewise.distribution.samplers import (
    FairSampler,
    ProportionalSampler,
    Sampler,
    Undecided,
    UniformSampler,
    host_rng,
)
from sharewise.distribution.schedule import (
    Bounded,
    Constant,
    Cosine,
    CosineRestarts,
    Ending,
    Exponential,
    Linear,
    LinearToZero,
    Ramp,
    Schedule,
    Setting,
    WarmUp,
    value_at,
)
from sharewise.distribution.staged import Staged

__all__ = [
    "Autoregressive",
    "Blueprint",
    "Bounded",
    "Concentrations",
    "Concrete",
    "Constant",
    "Controller",
    "Cosine",
    "CosineRestarts",
    "DirichletPath",
    "Distribution",
    "Drawn",
    "Ending",
    "Estimator",
    "Expectation",
    "Exponential",
    "ExponentiatedGradient",
    "Factored",
    "Fair",
    "FairSampler",
    "Geometry",
    "Gradient",
    "Joined",
    "Learned",
    "Linear",
    "LinearToZero",
    "MassPreservingAdam",
    "Nothing",
    "Offered",
    "OfferedSampler",
    "Phase",
    "Piece",
    "Proportional",
    "ProportionalSampler",
    "Ramp",
    "Restricted",
    "Sampler",
    "Schedule",
    "ScoreFunction",
    "Setting",
    "SigmoidLogits",
    "Simplex",
    "Size",
    "SoftmaxLogits",
    "Staged",
    "Step",
    "StraightThroughGumbel",
    "Traits",
    "TwoPath",
    "Undecided",
    "Uniform",
    "UniformSampler",
    "WarmUp",
    "entropy_of",
    "exponentiated_step",
    "host_rng",
    "option_mask",
    "unsized",
    "value_at",
]
