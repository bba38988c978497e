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
from sharewise.studies.training_free.truth import against_truth, known_scores

__all__ = [
    "SCORES",
    "TrainingFreeOracle",
    "TrainingFreeScore",
    "against_truth",
    "grad_norm",
    "jacobian_covariance",
    "known_scores",
    "naswot",
    "snip",
    "synflow",
]
