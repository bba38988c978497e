"""Training-free scores: what one batch says of a network that nobody has trained."""

from sharewise.studies.training_free.oracle import TrainingFreeOracle
from sharewise.studies.training_free.scores import (
    SCORES,
    TrainingFreeScore,
    grad_norm,
    jacobian_covariance,
    naswot,
    snip,
    synflow,
)

__all__ = [
    "SCORES",
    "TrainingFreeOracle",
    "TrainingFreeScore",
    "grad_norm",
    "jacobian_covariance",
    "naswot",
    "snip",
    "synflow",
]
